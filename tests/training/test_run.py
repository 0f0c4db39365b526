"""The one way to train: best epoch kept, curve written, and stopping and going on as if never stopped."""

import signal

import lightning
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from brainpred.training.run import CURVE, fit

BEST_W = 1.0


class Descent(lightning.LightningModule):
    """Walk one number down by the batch at every step: 5, then 4, 3, ...; best is where it passes 1."""

    def __init__(self, fails_at=None, error=RuntimeError, start=5.0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(start))
        self.fails_at, self.error = fails_at, error
        self.trained = []

    def training_step(self, batch, batch_index):
        self.trained.append((self.current_epoch, batch_index))
        if self.fails_at == (self.current_epoch, batch_index):
            raise self.error("stopped on purpose")
        loss = self.w * batch.mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch, batch_index):
        self.log("distance", (self.w - BEST_W) ** 2, batch_size=len(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.0)


class Ones(lightning.LightningDataModule):
    """Give batches of ones, and note for which epoch they were asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def train_dataloader(self):
        self.asked.append(self.trainer.current_epoch)
        return DataLoader(torch.ones(6, 1), batch_size=3)

    def val_dataloader(self):
        return DataLoader(torch.ones(2, 1), batch_size=2)


class Steps:
    """Note how a bar moves."""

    def __init__(self):
        self.totals, self.steps, self.closed = [], [], 0

    def task(self, description, total):
        self.totals.append((description, total))
        return self

    def __enter__(self):
        return self.steps.append

    def __exit__(self, *arguments):
        self.closed += 1

    def say(self, message):
        raise AssertionError(message)


@pytest.fixture(autouse=True)
def own_interrupt():
    """Put back the answer to Ctrl-C, which Lightning takes away when it was interrupted once."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def train(out, module=None, data=None, epochs=4, **options):
    module = module or Descent()
    result = fit(module, data or Ones(), out, epochs=epochs, monitor="distance", device="cpu", **options)
    return result, module


def curve(out):
    return pd.read_csv(out / CURVE).set_index("epoch")


def test_weights_of_the_best_epoch_are_kept_not_the_last(tmp_path):
    writes, module = train(tmp_path)
    assert writes is True
    # Two steps an epoch: 5 -> 3 -> 1 -> -1 -> -3.
    assert module.w.item() == 1.0
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]["w"]
    assert last.item() == -3.0


def test_curve_has_a_row_an_epoch(tmp_path):
    train(tmp_path)
    rows = curve(tmp_path)
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert rows["distance"].tolist() == [4.0, 0.0, 4.0, 16.0]
    assert rows["train_loss"].tolist() == [4.5, 2.5, 0.5, -1.5]  # mean of w before each of two steps
    assert rows["learning_rate"].tolist() == [1.0] * 4


def test_everything_promised_is_written_and_nothing_else(tmp_path):
    train(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CURVE, "checkpoints", "tensorboard"}
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_data_are_asked_for_anew_every_epoch(tmp_path):
    data = Ones()
    train(tmp_path, data=data)
    assert data.asked == [0, 1, 2, 3]


@pytest.mark.parametrize("fails_at", [(0, 1), (1, 0), (1, 1), (2, 0), (3, 1)])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_stopped_and_gone_on_equals_uninterrupted(tmp_path, fails_at, error):
    whole = train(tmp_path / "whole")[1]
    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
        train(tmp_path / "parts", Descent(fails_at, error))
    assert fails_at[0] == (len(curve(tmp_path / "parts")) if fails_at[0] else 0)
    # What the module held before does not matter: everything comes from the last whole epoch.
    module = train(tmp_path / "parts", Descent(start=5.0 if fails_at[0] == 0 else 77.0))[1]
    assert module.trained == [(epoch, batch) for epoch in range(fails_at[0], 4) for batch in range(2)]
    assert module.w.item() == whole.w.item()
    assert (tmp_path / "parts" / CURVE).read_bytes() == (tmp_path / "whole" / CURVE).read_bytes()


def test_best_epoch_before_the_stop_is_still_the_best_after(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"):
        train(tmp_path, Descent(fails_at=(3, 0)))
    assert train(tmp_path, Descent(start=-50.0))[1].w.item() == 1.0


def test_row_of_an_epoch_that_was_lost_is_replaced(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"):
        train(tmp_path, Descent(fails_at=(2, 0)))
    # As if it had been killed after the row of epoch 2 was written and before its checkpoint was.
    with open(tmp_path / CURVE, "a") as stream:
        stream.write("2,1.0,999.0,999.0\n")
    train(tmp_path)
    assert curve(tmp_path).index.tolist() == [0, 1, 2, 3]
    assert 999.0 not in curve(tmp_path).to_numpy()


def test_training_that_is_done_is_not_done_again(tmp_path):
    train(tmp_path)
    before = (tmp_path / CURVE).read_bytes()
    module = train(tmp_path, Descent(start=-50.0))[1]
    assert module.trained == []
    assert module.w.item() == 1.0
    assert (tmp_path / CURVE).read_bytes() == before


def test_bar_counts_every_step_of_all_epochs(tmp_path):
    steps = Steps()
    train(tmp_path, description="descent", reporter=steps)
    assert steps.totals == [("descent", 8)]
    assert sum(steps.steps) == 8
    assert len(steps.steps) == 9
    assert steps.closed == 1


def test_bar_of_a_training_that_goes_on_begins_where_it_stopped(tmp_path):
    steps = Steps()
    with pytest.raises(RuntimeError, match="on purpose"):
        train(tmp_path, Descent(fails_at=(1, 1)), reporter=steps)
    assert sum(steps.steps) == 3
    assert steps.closed == 1
    again = Steps()
    train(tmp_path, reporter=again)
    assert again.totals == [("training", 8)]
    assert again.steps[0] == 2
    assert sum(again.steps) == 8
