"""The whole job from Python, on made-up scans: arrays in, a trained model and label maps out.

Run it as it is (``python examples/python_api.py``, under a minute) or cell by cell in an editor
that knows ``# %%``. The network is tiny and sees few iterations: it shows how, not how well.
"""

# %% Scans: any arrays with their affines; here phantoms, of which three have a label.
import sys
from pathlib import Path
from tempfile import mkdtemp

import simcvd
from simcvd.demo.phantom import PhantomSettings, make_phantom
from simcvd.training.settings import NetworkConfig

work = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp(prefix="simcvd-"))
size = PhantomSettings(shape=(32, 32, 24), spacing=(3.0, 3.0, 4.0))
phantoms = {f"scan{i}": make_phantom(i, size) for i in range(6)}
scans = simcvd.write_scans(
    work / "scans",
    images={name: image.array for name, (image, _) in phantoms.items()},
    labels={name: phantoms[name][1].array for name in ("scan0", "scan1", "scan2", "scan5")},
    affines={name: image.affine for name, (image, _) in phantoms.items()},
    test=["scan5"],
)

# %% Check: every problem of the data set at once.
report = simcvd.check(scans, jobs=1, quiet=True)
for finding in report.findings:
    print(finding.severity, finding.scan, finding.message)

# %% Plan: spacing, patch and network from the scans, each with its reason. Here it only shows.
plan = simcvd.plan(scans, jobs=1)
print(f"planned: {plan.spacing} mm, patches of {plan.patch} voxels")

# %% Prepare once; again, only what changed is done. With a plan: **plan.prepare_arguments().
cache = simcvd.prepare(scans, work / "cache", jobs=1, quiet=True)
print(f"{len(cache.train)} scans for training, {len(cache.test)} for testing")

# %% Train; the same call resumes. `plan=plan` takes the planned network and patch.
run = simcvd.train(
    cache,
    work / "run",
    labeled=3,
    method="simcvd",
    recipe="paper",
    network=NetworkConfig(widths=(4, 8, 16), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2),
    settings={"train.iterations": 20, "train.patch": (16, 16, 16), "method.pool": 16},
)

# %% Predict: the label values in the scan's own grid. A path would do as well as an array.
model = simcvd.load_model(run)
image, label = phantoms["scan5"]
prediction = simcvd.predict(model, image.array, affine=image.affine)
assert prediction.shape == label.array.shape

# %% Export: one file for others, which runs no code of yours when it is loaded.
exported = simcvd.export(run, work / "model.zip")
print(f"{exported.path}: {exported.bytes / 1e6:.1f} MB")
# All of it in one call, for a folder of scans: simcvd.run(IMAGES, OUT, labels=LABELS)

# %% Evaluate: every metric of every class, then means over cases.
scores = simcvd.evaluate(prediction, label.array, spacing=size.spacing, class_names={1: "chamber"})
for score in scores:
    print(f"{score.name}: Dice {score.values['dice']:.2f} {score.miss}")
