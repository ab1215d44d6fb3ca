"""Which part of a name says that it is a label or a scan."""

from __future__ import annotations

import pytest

from simcvd.layouts.words import names_labels, without_label_words, without_scan_words


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("p1_seg", "p1"),
        ("p1-label", "p1"),
        ("p1_mask", "p1"),
        ("p1_dseg", "p1"),
        ("p1.seg", "p1"),
        ("p1_Segmentation", "p1"),
        ("p1_manual_seg_label", "p1_manual"),
        ("patient001_frame01_gt", "patient001_frame01"),
        ("label0001", "0001"),
        ("segmentation-10", "10"),
        ("segmentation", ""),
        ("seg.label", ""),
        ("liver", "liver"),
        ("masked", "masked"),
        ("labelled_p1", "labelled_p1"),
        ("gtx1", "gtx1"),
    ],
)
def test_words_for_labels(name: str, left: str) -> None:
    assert without_label_words(name) == left


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("img0001", "0001"),
        ("volume-10", "10"),
        ("p1_ct", "p1"),
        ("p1_0000", "p1"),
        ("p1_0001", "p1_0001"),
        ("imaging", ""),
        ("mrsmith", "mrsmith"),
        ("p1_t1", "p1_t1"),
    ],
)
def test_words_for_scans(name: str, left: str) -> None:
    assert without_scan_words(name) == left


def test_folders_of_labels() -> None:
    yes = ("labels", "Labels", "labelsTr", "segmentations", "Masks", "ground_truth", "GT")
    assert all(map(names_labels, yes))
    assert not any(map(names_labels, ("images", "labelled", "masked", "unlabeled", "segments_p1")))
