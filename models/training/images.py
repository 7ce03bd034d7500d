"""A learned system that turns an image into an image, as `holonode-models` walks it: everything but what it learns from, what
scores it and what is said of it.

A folder under models/recipes declares one `ImageRecipe` in `recipe.py`. Beside it, `scenes.py` has `samples(seed)`, endless
batches float32 [n, tile, tile, inputs + outputs + 1] of what goes in, the truth, and the weight of each pixel; `scoring.py` has
`report(network, count)`, the Markdown lines of its table from an `ImageNetwork` and a number of scenes, and, if it likes,
`pictures(network, count, folder)`, the paths of the PNG files that it drew. What scores may not be what trained: `scoring` doesn't
import `scenes`.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from device.arguments import number, whole
from device.errors import InputError
from device.output import output_folder
from models.training.losses import weighted_field_loss
from models.training.options import add_learning, add_start_from, start_file, use_threads

if TYPE_CHECKING:
    from models.training.cards import CardText
    from models.training.loop import TrainingSchedule
    from models.training.pool import Pool

__all__ = ["ImageRecipe", "NetworkFamily", "OpticsTable", "training_lines"]

OpticsTable = Mapping[str, tuple[float, float] | float]
"""A manifest's `optics`: what the scenes of training cover, in physical terms."""


class NetworkFamily(Protocol):
    """A shape of network: models.training.unet.UNet is one."""

    @property
    def inputs(self) -> int:
        """Channels in."""
        ...

    @property
    def outputs(self) -> int:
        """Channels out."""
        ...

    @property
    def multiple_px(self) -> int:
        """Sides of a tile are multiples of this; 0: only the tile it was exported for."""
        ...

    def build(self) -> Any:
        """A Keras model float32 [n, h, w, inputs] -> float32 [n, h, w, outputs], to train."""
        ...

    def for_export(self, trained: Any, tile_px: int) -> Any:
        """The same network as it ships, batch 1, for one tile."""
        ...


@dataclass(frozen=True)
class ImageRecipe:
    """The steps of one system (models.recipes.protocol.TrainingRecipe)."""

    name: str
    summary: str
    package: str
    """Folder under models/recipes that holds its scenes and scoring."""
    task: str
    """A manifest's."""
    inputs: tuple[str, ...]
    """Meaning of every channel that goes in."""
    outputs: tuple[str, ...]
    """Meaning of every channel that comes out."""
    optics: OpticsTable
    network: NetworkFamily
    text: Mapping[str, str]
    """What its card says: task, data, scored, limits."""
    baselines: tuple[str, ...]
    loss: Callable[[Any, Any], Any] = weighted_field_loss
    """(truth and weight, predicted) -> what training lowers (models.training.losses); cheap to import."""
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of input and output, where not 1."""
    tile_px: int = 256
    capacity: int = 8192
    """Samples that are kept to draw from."""
    turns: bool = True
    """Whether a sample turned or mirrored is as good a one."""
    steps: int = 14000
    batch: int = 8
    peak_rate: float = 1.2e-3
    precision: str = "mixed_bfloat16"
    most_kb: int = 2048
    """Largest file that may ship."""
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def scenes_module(self) -> str:
        """What it learns from."""
        return f"models.recipes.{self.package}.scenes"

    @property
    def pool_name(self) -> str:
        """Folder of samples under --work; recipes that learn from the same scenes share it."""
        return self.name

    def pool(self, work: Path) -> Pool:
        """Its samples under the folder of all trainings."""
        from models.training.pool import Pool

        shape = (self.tile_px, self.tile_px, len(self.inputs) + len(self.outputs) + 1)
        return Pool(work / self.pool_name / "pool", self.capacity, shape, self.turns)

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Its own options of an action."""
        if action == "simulate":
            parser.add_argument("--seed", type=whole(0, 2**31), default=1)
            parser.add_argument("--samples", type=whole(1, 1_000_000), default=1024, help="tiles in all (default %(default)s)")
        if action == "train":
            add_learning(parser)
            add_start_from(parser)
            parser.add_argument(
                "--steps", type=whole(1, 100_000_000), default=self.steps, help="optimiser steps (default %(default)s)"
            )
            parser.add_argument(
                "--seconds", type=number(0, 1e9, above=True), metavar="S", help="time of training, over all sittings; ends it before --steps",
            )  # fmt: skip
            parser.add_argument(
                "--only-simulated", action="store_true", help="learn from what `simulate` rendered; nothing more is rendered meanwhile"
            )  # fmt: skip
        if action in ("evaluate", "card"):
            parser.add_argument("--fields", type=whole(1, 10_000), default=4, help="scenes of each kind (default %(default)s)")
        if action == "evaluate":
            parser.add_argument(
                "--pictures", type=Path, metavar="DIR", help="also draw as many scenes, what is right beside what came out"
            )

    def simulate(self, args: argparse.Namespace) -> None:
        """Tiles of random scenes, in the pool that training draws from."""
        pool = self.pool(args.work)
        source = import_module(self.scenes_module).samples(args.seed + pool.written)
        while pool.written < args.samples:
            pool.write(next(source))
        print(f"{pool.written} tiles")

    def train(self, args: argparse.Namespace) -> None:
        """Learn, rendering beside it."""
        from models.training.loop import TrainingSchedule

        start_from = start_file(args.artefacts, args.start_from) if args.start_from else None
        use_threads(args.threads)
        seconds = args.seconds or math.inf
        schedule = TrainingSchedule(
            args.steps, self.batch, self.peak_rate, warmup=min(300, -(-args.steps // 10)), precision=self.precision,
            round_steps=min(250, -(-args.steps // 10)), seconds=seconds,
        )  # fmt: skip
        self.learn(args.work, schedule, args.seed, start_from, render=not args.only_simulated)

    def learn(
        self, work: Path, schedule: TrainingSchedule, seed: int = 1, start_from: Path | None = None, *, render: bool = True
    ) -> None:
        """Train under the folder of all trainings; resumes what is there, else starts from a file's weights or from none.

        InputError where nothing was rendered and nothing is to be.
        """
        from models.training.loop import fill_pool, train

        pool = self.pool(work)
        if not render and not pool.written:
            raise InputError(
                "nothing was rendered yet", where=pool.folder, expected="samples to learn from", got="none",
                remedy=f"Run `holonode-models simulate {self.name}` first, or leave out --only-simulated.",
            )  # fmt: skip
        renderer = fill_pool(self.scenes_module, pool.folder, pool.capacity, pool.shape, seed) if render else None
        try:
            train(
                self.network.build, pool, work / self.name, schedule, seed, start_from, loss=self.loss,
                inputs=len(self.inputs), least=0 if render else pool.written,
            )  # fmt: skip
        finally:
            if renderer:
                renderer.terminate()
                renderer.wait()

    def export(self, args: argparse.Namespace) -> Path:
        """Its int8 bundle; prints what quantisation costs on samples of the pool."""
        import keras

        from models.training.export import trained_weights

        # Whatever it was trained in.
        keras.mixed_precision.set_global_policy("float32")
        trained = self.network.build()
        trained.load_weights(trained_weights(args.work / self.name))
        return self.write(trained, self.pool(args.work), args.artefacts, args.version)

    def write(self, trained: Any, pool: Pool, out: Path, version: str, optics: OpticsTable | None = None) -> Path:
        """int8 bundle of a trained model, quantised by samples of the pool; prints what that costs."""
        import numpy as np

        from device.inference.interpreter import Interpreter
        from models.training.export import BundleSpec, to_tflite, write_bundle
        from models.training.unet import macs_per_pixel

        model = self.network.for_export(trained, self.tile_px)
        rng = np.random.default_rng(5)
        taken = len(self.inputs)
        # Ranges are set by what is rare, so many tiles.
        representative = pool.batch(rng, 160)[..., :taken]
        content = to_tflite(model, [sample[None] for sample in representative])
        spec = BundleSpec(
            self.name, version, self.task, self.package, {"input": self.inputs}, {"output": self.outputs},
            dict(optics or self.optics), tile_multiple_px=self.network.multiple_px, units=self.units,
        )  # fmt: skip
        # The self-test must have something to see: the busiest tile.
        golden = int(np.argmax(representative.std(axis=(1, 2, 3))))
        path = write_bundle(spec, content, {"input": representative[golden : golden + 1]}, out)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "float32.tflite"
            plain.write_bytes(to_tflite(model, None))
            batch = pool.batch(rng, 24)
            truth, near = batch[..., taken : taken + len(self.outputs)], batch[..., -1] > 1
            for kind, file in (("int8", path), ("float32", plain)):
                error = ((Interpreter(file).run(batch[..., :taken]) - truth) ** 2).sum(axis=-1)
                where = f"{error[near].mean():.5f} where the weight is high, " if near.any() else ""
                print(f"{kind:8} squared error: {where}{error.mean():.5f} in all")
        print(f"{len(content) / 1024:.0f} kB, {macs_per_pixel(trained, self.tile_px) / 1000:.1f} kMAC per pixel")
        if len(content) > 1024 * self.most_kb:
            raise InputError(
                "the file is larger than may ship", where=path, expected=f"at most {self.most_kb} kB",
                got=f"{len(content) // 1024} kB", remedy="A narrower network.",
            )  # fmt: skip
        return path

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """The table of its scoring module, from the shipped file."""
        from device.inference.networks import ImageNetwork
        from device.inference.store import ModelStore

        bundle, interpreter = ModelStore(args.artefacts).open(self.name)
        network = ImageNetwork(interpreter, bundle.manifest)
        scoring = import_module(f"models.recipes.{self.package}.scoring")
        if folder := getattr(args, "pictures", None):
            if not hasattr(scoring, "pictures"):
                raise InputError("this recipe draws no pictures", where=f"evaluate {self.name} --pictures")
            output_folder(folder)
            drawn = [f"{path}" for path in scoring.pictures(network, args.fields, folder)]
            return [*scoring.report(network, args.fields), "", *drawn]
        return scoring.report(network, args.fields)

    def card(self, args: argparse.Namespace) -> CardText:
        """Its texts, and the curve of its training."""
        from models.training.cards import CardText

        task, data, scored, limits = (self.text[key] for key in ("task", "data", "scored", "limits"))
        return CardText(task, data, scored, limits, training=tuple(training_lines(args.work / self.name)))

    def finetune(self, args: argparse.Namespace) -> Path:  # noqa: ARG002  the protocol's
        """InputError: nothing is known that an instrument's own frames would teach it."""
        raise InputError(
            "this model can't be adapted to an instrument", where=f"finetune {self.name}", expected="hidef, hidef-small or a classifier",
            remedy="Train it again from its recipe.",
        )  # fmt: skip


def training_lines(work: Path) -> list[str]:
    """What a card says of the training in a folder: steps and curve; nothing where there is none."""
    if not (work / "state.json").exists():
        return []
    state: dict[str, Any] = json.loads((work / "state.json").read_text())
    picks = state["curve"][:: max(1, len(state["curve"]) // 12)]
    curve = [
        "Loss against training compute:",
        "",
        "| megapixels | loss |",
        "|---|---|",
        *(f"| {m:.0f} | {loss:.4f} |" for _, m, loss in picks),
    ]
    first = f", from the weights of {state['start_from']} on" if state.get("start_from") else ""
    return ["", f"{state['step']} steps, {state['megapixels']:.0f} megapixels{first}.", "", *curve]
