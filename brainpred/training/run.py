"""One way to train every network: resumable, logged, with progress, on one device or several."""

import json
import logging
import math
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import atomic_path, make_directory, read_json, write_json

__all__ = ["CURVE", "claim_folder", "fit"]

CURVE = "curve.csv"


class _Curve(Callback):
    """Write one row of everything logged after each epoch; a resumed training goes on in the same table."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the rate that the epoch begins with."""
        pl_module.log("learning_rate", trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch just done in the place of any later ones that were lost."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}  # a sum over all devices
        if broken := [name for name, value in logged.items() if not math.isfinite(value)]:
            raise DataError(
                f"Training has diverged: {', '.join(broken)} of epoch {trainer.current_epoch} are no finite numbers. "
                "Use a lower learning rate or 32-true precision, in another folder."
            )
        if not trainer.is_global_zero:
            return
        rows = pd.read_csv(self.path) if self.path.is_file() else pd.DataFrame({"epoch": []}, dtype=int)
        rows = rows[rows["epoch"] < trainer.current_epoch]
        row = pd.DataFrame([{"epoch": trainer.current_epoch, **logged}])
        with atomic_path(self.path) as temporary:
            (pd.concat([rows, row]) if len(rows) else row).to_csv(temporary, index=False)


class _Best(ModelCheckpoint):
    """Remember the best epoch of earlier runs even where the folder has been moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an earlier run knew."""
        here = str(self.dirpath)
        best = str(Path(here) / Path(state_dict["best_model_path"]).name)
        super().load_state_dict({**state_dict, "dirpath": here, "best_model_path": best})


class _Progress(Callback):
    """Tell a reporter of every training step, so that the time left is that of the whole training."""

    def __init__(self, reporter: Reporter, description: str):
        self.reporter, self.description = reporter, description

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the bar, with the epochs of an earlier run already done."""
        if not trainer.is_global_zero:
            self.reporter = SILENT
        self._task = self.reporter.task(self.description, int(trainer.estimated_stepping_batches))
        self._advance = self._task.__enter__()
        self._advance(trainer.global_step)

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Move the bar on."""
        self._advance(1)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the bar."""
        self._task.__exit__(None, None, None)

    def on_exception(self, *arguments: Any) -> None:
        """Close the bar."""
        if hasattr(self, "_task"):
            self._task.__exit__(None, None, None)


def claim_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Say in a folder what is trained there, or refuse to go on with a training that did something else.

    Parameters
    ----------
    out : Path
        Folder of the training; receives ``train.json``.
    settings : mapping of str to anything JSON can hold
        Everything that the result depends on.

    Raises
    ------
    ConfigError
        If the folder holds a training with other settings.
    """
    path = out / "train.json"
    wanted = json.loads(json.dumps(settings))
    if not path.is_file():
        write_json(path, {"settings": wanted, "provenance": provenance()})
    elif (saved := read_json(path)["settings"]) != wanted:
        other = [name for name in wanted if saved.get(name) != wanted[name]]
        raise ConfigError(
            f"{out} holds a training with other {', '.join(other)}; to go on with it, give the same options. "
            "To train anew, choose another --out."
        )


def fit(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    out: Path,
    *,
    epochs: int,
    monitor: str,
    precision: str = "32-true",
    device: str = "auto",
    devices: int | str = "auto",
    description: str = "training",
    reporter: Reporter = SILENT,
) -> bool:
    """Train a network, from the last whole epoch if an earlier run was stopped, and load its best weights.

    ``out`` receives ``curve.csv`` (one row an epoch), TensorBoard events and ``checkpoints/``.

    Parameters
    ----------
    module : LightningModule
        Network with its loss; holds the weights of the best epoch afterwards.
    data : LightningDataModule
        Training and validation batches; asked for anew every epoch.
    out : Path
        Folder to write into.
    epochs : int
        Epochs in all, those of earlier runs included.
    monitor : str
        Logged value that is least in the best epoch.
    precision : str
        Lightning's precision, such as ``"32-true"`` or ``"bf16-mixed"``.
    device : {"auto", "cpu", "cuda"}
        Kind of device.
    devices : int or "auto"
        How many of them; all GPUs, or one process on the CPU, by default.
    description : str
        Name of the progress bar.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    bool
        Whether this process is the one to write results: one of several that train together.
    """
    on_gpu = resolve_device(device).type == "cuda"
    if on_gpu and isinstance(devices, int) and devices > torch.cuda.device_count():
        raise ConfigError(f"{devices} GPUs were asked for, but there are {torch.cuda.device_count()}.")
    checkpoints = make_directory(out / "checkpoints")
    every_epoch: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = _Best(checkpoints, filename="best", monitor=monitor, **every_epoch)
    last = ModelCheckpoint(checkpoints, filename="last", **every_epoch)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Advice about workers and logging folders that are chosen on purpose.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if on_gpu else "cpu",
            devices=devices if on_gpu or devices != "auto" else 1,
            precision=precision,  # type: ignore[arg-type]
            callbacks=[_Curve(out / CURVE), _Progress(reporter, description), best, last],
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        resume = checkpoints / "last.ckpt"
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume if resume.exists() else None, weights_only=False)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C, which it then no longer listens to
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from stop
    module.load_state_dict(torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=False)["state_dict"])
    return bool(trainer.is_global_zero)
