"""Digits to train on: each once an epoch, moved by whole pixels, the same for the same seed."""

import numpy as np
import pytest
import torch

from brainpred.models.digit_reader import DigitReader
from brainpred.movies.scenes import DigitImages
from brainpred.training.digits import DigitBatches, DigitData, DigitReaderTraining, Digits, move_digits

N_IMAGES, BATCH = 17, 5


@pytest.fixture
def digits():
    """Make pictures that say, by their brightest pixel, which one they are."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((N_IMAGES, 28, 28), np.uint8)
    pictures[:, 6:21, 8:19] = rng.integers(1, 200, (N_IMAGES, 15, 11))
    pictures[:, 13, 12] = 201 + np.arange(N_IMAGES)
    return pictures, rng.integers(10, size=N_IMAGES)


def shown(batch):
    """Say which pictures a batch shows."""
    return [round(255 * float(picture.max())) - 201 for picture in batch.pictures]


def test_moving_equals_a_loop():
    pictures = np.random.default_rng(1).integers(1, 255, (7, 5, 8), dtype=np.uint8)
    moved = move_digits(pictures, np.random.default_rng(2), furthest=2)
    rows, columns = np.random.default_rng(2).integers(5, size=(2, 7))
    for n, (row, column) in enumerate(zip(rows - 2, columns - 2, strict=True)):
        for y, x in np.ndindex(5, 8):
            inside = 0 <= y + row < 5 and 0 <= x + column < 8
            assert moved[n, y, x] == (pictures[n, y + row, x + column] if inside else 0)


def test_moves_go_everywhere_and_no_further():
    picture = np.zeros((500, 9, 11), np.uint8)
    picture[:, 4, 6] = 1
    moved = move_digits(picture, np.random.default_rng(3))
    assert moved.sum() == 500
    found = {(int(y) - 4, int(x) - 6) for _, y, x in np.argwhere(moved)}
    assert found == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_an_epoch_shows_every_digit_at_most_once_with_its_label(digits):
    batches = DigitBatches(digits, BATCH, seed=4)
    assert len(batches) == 3
    numbers = [number for batch in batches for number in shown(batch)]
    assert len(numbers) == len(set(numbers)) == 15
    labels = torch.cat([batch.labels for batch in batches])
    assert labels.tolist() == digits[1][numbers].tolist()
    assert batches[0].pictures.dtype == torch.float32
    assert batches[0].pictures.max() <= 1


def test_batches_follow_from_seed_and_epoch(digits):
    batches, again = (DigitBatches(digits, BATCH, seed=5) for _ in range(2))
    torch.testing.assert_close(batches[1].pictures, again[1].pictures)
    again.epoch = 1
    assert shown(batches[1]) != shown(again[1])
    assert shown(batches[1]) != shown(DigitBatches(digits, BATCH, seed=6)[1])
    for index in (-1, 3):
        with pytest.raises(IndexError):
            batches[index]


def test_a_batch_larger_than_all_digits_shows_all(digits):
    batches = DigitBatches(digits, 100)
    assert len(batches) == 1
    assert sorted(shown(batches[0])) == list(range(N_IMAGES))


def test_validation_digits_stay_where_they_are(digits):
    data = DigitData(DigitImages("toy", digits, digits, digits), BATCH)
    batches = list(data.val_dataloader())
    np.testing.assert_array_equal(torch.cat([batch.pictures for batch in batches]) * 255, digits[0])
    assert len(data.train_dataloader()) == 3


def test_loss_is_the_mean_negative_logarithm_of_the_right_digit(monkeypatch):
    training = DigitReaderTraining(DigitReader().eval())
    logged = {}
    monkeypatch.setattr(training, "log", lambda name, value, **options: logged.update({name: value.item()}))
    pictures, labels = torch.rand(7, 28, 28), torch.tensor([3, 1, 4, 1, 5, 9, 2])
    loss = training.training_step(Digits(pictures, labels), 0)
    probabilities = training.network.probabilities(pictures)
    expected = [-np.log(float(row[label])) for row, label in zip(probabilities, labels, strict=True)]
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    training.validation_step(Digits(pictures, labels), 0)
    wrong = [int(row.argmax()) != label for row, label in zip(probabilities, labels.tolist(), strict=True)]
    assert logged["validation_error"] == pytest.approx(np.mean(wrong))
