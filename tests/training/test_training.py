"""Training from the outside: the same command resumes, and what cannot work is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.small import LABELED, NETWORK, TRAIN, make_cache

from simcvd.data.cache import Cache
from simcvd.training import loop
from simcvd.training.checkpoint import load_latest, save_checkpoint
from simcvd.training.faults import Faults
from simcvd.training.log import read_log
from simcvd.training.loop import Trainer, train
from simcvd.training.run import open_folder, resolve, split
from simcvd.training.settings import override
from simcvd.training.stop import Interrupted
from simcvd.types import SimcvdError

CPU = torch.device("cpu")
FLAGS = [
    f"network.widths={NETWORK.widths}",
    f"network.blocks={NETWORK.blocks}",
    f"network.strides={NETWORK.strides}",
    f"train.patch={TRAIN.patch}",
    "method.pool=8",
    "method.hidden=16",
]


def _command(cache: Path, out: Path, iterations: int) -> list[str]:
    flags = [part for flag in FLAGS for part in ("--set", flag)]
    return [
        *(str(Path(sys.executable).with_name("simcvd")), "train", str(cache)),
        *("--method", "simcvd", "--labeled", str(LABELED), "--out", str(out)),
        *("--recipe", "paper", "--iterations", str(iterations), *flags),
    ]


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def _assert_same(a: Path, b: Path) -> None:
    first, second = _weights(a), _weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_killed_and_typed_again_ends_with_the_same_bits(small_cache: Cache, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    iterations = 60
    subprocess.run(_command(small_cache.root, whole, iterations), check=True)
    environment = {**os.environ, "SIMCVD_CHECKPOINT_SECONDS": "0.2"}
    process = subprocess.Popen(_command(small_cache.root, killed, iterations), env=environment)
    _wait_for(lambda: (load_latest(killed / "checkpoints", CPU) or {"step": 0})["step"] > 5)
    process.kill()
    process.wait()
    assert not (killed / "model.safetensors").exists()
    subprocess.run(_command(small_cache.root, killed, iterations), check=True)
    _assert_same(whole, killed)
    terms = [name for name in read_log(whole)[0] if name.startswith("term/")]
    assert [[row[t] for t in terms] for row in read_log(whole)] == [
        [row[t] for t in terms] for row in read_log(killed)
    ]


def test_asked_to_stop_it_saves_and_says_how_to_go_on(small_cache: Cache, tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(small_cache.root, tmp_path / "run", 100_000),
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    _wait_for(lambda: len(read_log(tmp_path / "run")) > 1)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "re-run the same command" in message
    saved = load_latest(tmp_path / "run" / "checkpoints", CPU)
    assert saved is not None
    assert f"stopped at step {saved['step']}" in message


def test_asked_in_the_last_step_it_stops_too(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked is not to be followed by the next training."""
    arguments: dict[str, Any] = {"labeled": LABELED, "settings": [*FLAGS, "train.iterations=3"]}
    step = Trainer.train_step

    def asked(trainer: Trainer) -> dict[str, float]:
        row = step(trainer)
        if trainer.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return row

    monkeypatch.setattr(Trainer, "train_step", asked)
    with pytest.raises(Interrupted, match="stopped at step 3 of 3"):
        train(small_cache.root, tmp_path / "run", **arguments)
    monkeypatch.undo()
    train(small_cache.root, tmp_path / "run", **arguments)
    train(small_cache.root, tmp_path / "whole", **arguments)
    _assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_second_signal_while_it_saves_loses_no_checkpoint(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Trainer.save

    def signalled(trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(trainer)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(Trainer, "save", signalled)
    with pytest.raises(Interrupted):
        train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=FLAGS)
    assert load_latest(tmp_path / "run" / "checkpoints", CPU) is not None


def test_labels_of_unlabelled_scans_change_nothing(small_cache: Cache, tmp_path: Path) -> None:
    fewer = make_cache(tmp_path / "fewer", labels=LABELED)
    assert sum(e.has_label for e in fewer.manifest.cases.values()) < len(fewer.manifest.cases)
    for name, cache in {"all": small_cache, "few": fewer}.items():
        train(cache.root, tmp_path / name, labeled=LABELED, settings=[*FLAGS, "train.iterations=4"])
    _assert_same(tmp_path / "all", tmp_path / "few")


def test_labels_of_unlabelled_scans_are_never_opened(small_cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(small_cache.root, copy)
    for name in small_cache.train[LABELED:]:
        (copy / "cases" / name / "label.npy").unlink()
        (copy / "cases" / name / "distance.npy").unlink()
    train(copy, tmp_path / "run", labeled=LABELED, settings=[*FLAGS, "train.iterations=4"])
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_changed_settings_are_refused_with_the_difference(
    small_cache: Cache, tmp_path: Path
) -> None:
    settings = [*FLAGS, "train.iterations=2"]
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=settings)
    with pytest.raises(SimcvdError, match=r"config\.tau: 0\.5 -> 0\.3"):
        train(
            small_cache.root,
            tmp_path / "run",
            labeled=LABELED,
            settings=[*settings, "method.tau=0.3"],
        )


def test_a_run_of_another_version_is_resumed_and_said_so(
    small_cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*FLAGS, "train.iterations=2"]
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=settings)
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    record["run"]["simcvd"] = "0.0.1"
    path.write_text(json.dumps(record))
    capsys.readouterr()
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=settings)
    assert "was begun with simcvd 0.0.1" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["train", "augment", "config", "network", "recipe"])
def test_a_run_whose_settings_are_none_is_refused(
    small_cache: Cache, tmp_path: Path, group: str
) -> None:
    run = resolve(small_cache, method="simcvd", labeled=LABELED, settings=FLAGS)
    open_folder(tmp_path, run, small_cache)
    path = tmp_path / "config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "run": {**record["run"], group: [1]}}))
    with pytest.raises(SimcvdError, match=r"config\.json is no record of a run"):
        open_folder(tmp_path, run, small_cache)


def test_a_folder_with_something_else_in_it_is_left_alone(
    small_cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(SimcvdError, match="not empty and holds no run"):
        train(small_cache.root, tmp_path, labeled=LABELED, settings=FLAGS)


@pytest.mark.parametrize(
    ("labeled", "settings", "message"),
    [
        (99, [], "99 labelled training scans were asked for.*6"),
        (0, [], "Ask for 1 to 6"),
        (3, ["train.holdout=4"], "7 labelled training scans were asked for"),
        (3, ["train.fold=1"], "a fold needs scans to hold out"),
        (4, ["train.holdout=2", "train.fold=3"], r"make the folds 0 to 2"),
        (3, ["method.tua=0.3"], "no 'method.tua'.*method.tau"),
        (3, ["method.tau=warm"], "expected float"),
        (3, ["train.iterations=3.0"], "expected int"),
        (3, ["train.nesterov=1"], "expected bool"),
        (3, ["network.blocks={1, 2}"], "expected tuple"),
        (3, ["method.boundary=edge"], "one of distance, probability"),
        (3, ["train.patch=(16,16)"], "tuple"),
        (3, ["method.tau"], "name=value"),
        (3, ["train.lr=-1"], r"train\.lr is -1.*must be above 0"),
        (3, ["train.lr_every=-5"], r"train\.lr_every is -5.*at least 1"),
        (3, ["train.patch=(16,0,16)"], r"train\.patch is \(16, 0, 16\).*at least 1"),
        (3, [f"train.seed=-{10**400}"], r"train\.seed is -10*; it must be at least 0"),
        (3, [f"train.lr={'-' * 5000}1"], r"expected float"),
        (3, ["train.seed=-1"], r"train\.seed is -1.*at least 0"),
        (3, ["train.lr=1e999"], r"train\.lr is inf; it must be finite and above 0"),
        (3, ["train.patch=(17,16,16)"], r"\(17, 16, 16\).*multiple of \(16, 16, 16\)"),
        (3, ["train.batch=1"], r"train\.labeled_batch is 2 of train\.batch 1"),
        (3, ["network.dropout=3"], r"network\.dropout is 3\.0; it must be at least 0 and below 1"),
        (3, ["network.strides=((2,2,2),(2,2,0))"], r"network\.strides is .*at least 1"),
        (3, ["network.strides=((2,2,2),(2,2,2))"], "5 widths, 5 blocks and 2 strides"),
        (3, ["method.tau=0"], r"method\.tau is 0\.0; it must be above 0"),
        (3, ["method.lambda=-1"], r"method\.lambda is -1\.0; it must be at least 0"),
        (3, ["train.labeled_batch=4", "train.batch=4"], "1 unlabelled patches or more.*gets 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    small_cache: Cache, tmp_path: Path, labeled: int, settings: list[str], message: str
) -> None:
    with pytest.raises(SimcvdError, match=message):
        train(small_cache.root, tmp_path / "run", labeled=labeled, settings=settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "refused", "message", "corrected"),
    [
        ("simcvd", "train.patch=(17,16,8)", "multiple of", "train.patch=(16,16,8)"),
        ("supervised", "network.blocks=(1,1)", "as many blocks", "network.blocks=(1,1,1)"),
        ("mean_teacher", "train.labeled_batch=4", "needs 1 unlabelled", "train.labeled_batch=2"),
        ("ict", "train.labeled_batch=3", "needs 2 .*gets 1", "train.labeled_batch=2"),
    ],
)
def test_after_a_refusal_the_corrected_command_runs(
    small_cache: Cache, tmp_path: Path, method: str, refused: str, message: str, corrected: str
) -> None:
    flags = [f for f in FLAGS if method == "simcvd" or not f.startswith("method")]

    def run(setting: str) -> Path:
        settings = [*flags, "train.iterations=1", setting]
        out = tmp_path / "run"
        return train(small_cache.root, out, method=method, labeled=LABELED, settings=settings)

    with pytest.raises(SimcvdError, match=message):
        run(refused)
    assert not (tmp_path / "run").exists()
    assert (run(corrected) / "model.safetensors").exists()


def test_settings_are_refused_together_and_not_by_their_order() -> None:
    """A batch of one is too small for two labelled patches, until the second setting."""
    changed = override({"train": TRAIN}, ["train.batch=1", "train.labeled_batch=1"])["train"]
    assert (changed.batch, changed.labeled_batch) == (1, 1)


def test_every_fold_holds_out_others_and_never_sees_them(small_cache: Cache) -> None:
    """Six labelled scans in three folds of two: each is held out once, from the end on."""
    folds = [split(small_cache, 3, 2, fold) for fold in range(3)]
    assert [held for _, _, held in folds] == [
        ("case4", "case5"),
        ("case2", "case3"),
        ("case0", "case1"),
    ]
    assert [names for names, _, _ in folds] == [
        ("case0", "case1", "case2"),
        ("case0", "case1", "case4"),
        ("case2", "case3", "case4"),
    ]
    for names, rest, held in folds:  # the one left over counts as unlabelled
        assert sorted((*names, *rest, *held)) == sorted(small_cache.train)


def test_a_run_from_before_there_were_folds_goes_on(small_cache: Cache, tmp_path: Path) -> None:
    settings = [*FLAGS, "train.iterations=2"]
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=settings)
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["run"]["train"]["fold"]
    path.write_text(json.dumps(record))
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=settings)


def test_an_unknown_method_names_the_near_misses(small_cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="did you mean mean_teacher"):
        train(small_cache.root, tmp_path / "run", method="mean_techer", labeled=3)


def test_without_unlabelled_scans_a_semi_supervised_method_says_so(
    small_cache: Cache, tmp_path: Path
) -> None:
    with pytest.raises(SimcvdError, match="needs unlabelled scans"):
        train(small_cache.root, tmp_path / "run", labeled=6, settings=FLAGS)


def test_a_term_that_is_not_finite_is_named_with_its_cases(
    small_cache: Cache, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(small_cache.root, cache)
    for name in small_cache.train[LABELED:]:
        path = cache / "cases" / name / "image.npy"
        np.save(path, np.full_like(np.load(path), np.nan))
        record = json.loads(path.with_name("case.json").read_text())
        del record["checksums"], record["digest"]  # or the array would be refused as damaged
        path.with_name("case.json").write_text(json.dumps(record))
    with pytest.raises(SimcvdError, match=r"step 0: seg.*not finite on the cases case") as caught:
        train(cache, tmp_path / "run", labeled=LABELED, settings=FLAGS)
    message = str(caught.value)
    assert "The last checkpoint, from before this step, is kept. `simcvd check` looks" in message


def test_the_last_two_checkpoints_are_kept_and_a_broken_one_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"seconds": 0.0})
    assert len(list(tmp_path.iterdir())) == 2
    newest, older = tmp_path / "step_00000003.pt", tmp_path / "step_00000001.pt"
    older.write_bytes(newest.read_bytes())  # as where a kill came before it was dropped
    assert load_latest(tmp_path, CPU)["step"] == 3  # type: ignore[index]
    assert not older.exists()
    newest.write_bytes(newest.read_bytes()[:50])
    assert load_latest(tmp_path, CPU)["step"] == 2  # type: ignore[index]
    newest.write_text("hello garbage")
    assert load_latest(tmp_path, CPU)["step"] == 2  # type: ignore[index]
    assert capsys.readouterr().err == f"{newest}: cannot be read and is passed over\n" * 2
    (tmp_path / "step_00000002.pt").write_bytes(b"")
    with pytest.raises(SimcvdError, match=r"none of step_00000002\.pt, step_00000003\.pt can be"):
        load_latest(tmp_path, CPU)


def test_what_is_written_after_a_restored_checkpoint_outlives_damaged_later_ones(
    tmp_path: Path,
) -> None:
    """As where a copy of step 1 was put back because neither of the last two could be read."""
    for step in (2, 3):
        (tmp_path / f"step_{step * 100:08d}.pt").write_bytes(b"damaged")
    for step in (100, 110, 120, 130):
        save_checkpoint(tmp_path, step, {"seconds": 0.0})
        assert load_latest(tmp_path, CPU)["step"] == step  # type: ignore[index]
    save_checkpoint(tmp_path, 310, {"seconds": 0.0})
    save_checkpoint(tmp_path, 320, {"seconds": 0.0})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_00000310.pt",
        "step_00000320.pt",
    ]


@pytest.mark.parametrize("text", ["[]", '{"model_type": "unet"}', '{"run": {"tr'])
def test_a_folder_of_something_else_s_config_is_refused(
    small_cache: Cache, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SimcvdError, match=r"config\.json is (broken|no record of a run)"):
        train(small_cache.root, tmp_path, labeled=LABELED, settings=FLAGS)
    assert (tmp_path / "config.json").read_text() == text


def test_weights_that_are_not_finite_reach_no_checkpoint(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(averages: object, shares: object) -> None:
        calls.append(shares)
        if len(calls) == 3:
            spoilt[0].bias.data[0] = torch.inf  # type: ignore[union-attr]

    calls: list[object] = []
    spoilt: list[torch.nn.Module] = []
    built = loop.build_method

    def remember(run: object) -> object:
        method = built(run)  # type: ignore[arg-type]
        spoilt.append(method.network.class_head)  # type: ignore[arg-type]
        return method

    monkeypatch.setattr(loop, "build_method", remember)
    monkeypatch.setattr("simcvd.training.step.update_averages", spoil)
    monkeypatch.setattr(Faults, "look_at", lambda *_: None)
    with pytest.raises(SimcvdError, match=r"network\.class_head\.bias.* not finite"):
        train(
            small_cache.root,
            tmp_path / "run",
            labeled=LABELED,
            settings=[*FLAGS, "train.iterations=3"],
        )
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_scans_smaller_than_the_patch_are_named(
    small_cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "train.patch=(16,16,64)", "train.iterations=1"]
    train(small_cache.root, tmp_path / "run", labeled=LABELED, settings=flags)
    assert "scans are smaller than the patch of 16 x 16 x 64 voxels" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 1, {"seconds": 0.0})
    original = Path.open

    def full(self: Path, mode: str = "r", *rest: object, **named: object) -> object:
        target = Path("/dev/full") if self.name.startswith(".") else self
        return original(target, mode, *rest, **named)  # type: ignore[arg-type,call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(SimcvdError, match="re-run the same command"):
        save_checkpoint(tmp_path, 2, {"weights": torch.zeros(1000, 1000)})
    monkeypatch.undo()
    assert load_latest(tmp_path, CPU)["step"] == 1  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.pt"]


def test_what_a_killed_run_left_half_written_goes_with_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".4711-step_00000001.pt").write_bytes(b"half")
    save_checkpoint(tmp_path, 2, {"seconds": 0.0})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000002.pt"]


def test_supervised_training_learns(small_cache: Cache, tmp_path: Path) -> None:
    """Bright balls are easy: 80 small steps bring Dice and cross-entropy far down."""
    settings = [f for f in FLAGS if not f.startswith("method")]
    train(
        small_cache.root,
        tmp_path / "run",
        method="supervised",
        labeled=LABELED,
        settings=[*settings, "train.iterations=80"],
    )
    losses = [row["term/seg"] for row in read_log(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]


def test_every_random_number_follows_from_seed_step_and_process() -> None:
    seeds = {
        loop.mix(seed, step, rank) for seed in range(8) for step in range(500) for rank in range(4)
    }
    assert len(seeds) == 8 * 500 * 4


def _wait_for(done: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the training did not get that far in time"
        time.sleep(0.05)
