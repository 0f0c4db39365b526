"""Pool what a network says of every frame into one value a scan."""

from collections.abc import Mapping

from torch import Tensor

from brainpred.errors import ConfigError
from brainpred.numerics.timing import check_repetition_time, frame_scans, lanczos_scans

__all__ = ["POOLINGS", "ScanPool"]

POOLINGS = ("mean", "last", "lanczos")


class ScanPool:
    """Take frames as they come and give scans as soon as no later frame can change them.

    Parameters
    ----------
    pooling : {"mean", "last", "lanczos"}
        Mean of a scan's frames, its last frame, or a low-pass at half the scans' rate (Lanczos, three lobes).
    tr_s : float
        Length of a scan in seconds.

    Attributes
    ----------
    sums : dict of int to dict of str to Tensor
        Weighted sums of the scans that are not yet given, float32.
    weights : dict of int to float
        Sum of the weights of each.
    n_frames : dict of int to int
        Frames shown within each.
    """

    def __init__(self, pooling: str, tr_s: float):
        check_repetition_time(tr_s)
        if pooling not in POOLINGS:
            raise ConfigError(f"Unknown pooling {pooling!r}. Choose one of: {', '.join(POOLINGS)}.")
        self.pooling, self.tr_s = pooling, tr_s
        self.sums: dict[int, dict[str, Tensor]] = {}
        self.weights: dict[int, float] = {}
        self.n_frames: dict[int, int] = {}

    def add(self, time_s: float, values: Mapping[str, Tensor]) -> None:
        """Count one frame in.

        Parameters
        ----------
        time_s : float
            When it is shown, in seconds from the beginning of the run; not before the frame before.
        values : mapping of str to Tensor
            What the network says of it, by unit.
        """
        own = int(frame_scans([time_s], self.tr_s)[0])
        self.n_frames[own] = self.n_frames.get(own, 0) + 1
        scans = lanczos_scans(time_s, self.tr_s) if self.pooling == "lanczos" else {own: 1.0}
        for scan, weight in scans.items():
            if scan not in self.sums or self.pooling == "last":
                self.sums[scan] = {unit: weight * value.float() for unit, value in values.items()}
                self.weights[scan] = weight
            else:
                for unit, value in values.items():
                    self.sums[scan][unit].add_(value.float(), alpha=weight)
                self.weights[scan] += weight

    def finished(self, time_s: float) -> list[tuple[int, int, dict[str, Tensor]]]:
        """Give, and forget, the scans that no frame from ``time_s`` on counts for.

        Parameters
        ----------
        time_s : float
            Time of the last frame counted in, or infinity after the last of all.

        Returns
        -------
        list of (int, int, dict of str to Tensor)
            Number of the scan, number of frames shown within it, and its value for every unit.
        """
        scans = sorted(self.sums)
        if time_s != float("inf"):
            open_from = min(lanczos_scans(time_s, self.tr_s)) if self.pooling == "lanczos" else max(scans)
            scans = [scan for scan in scans if scan < open_from]
        return [(scan, self.n_frames.pop(scan, 0), self._take(scan)) for scan in scans]

    def _take(self, scan: int) -> dict[str, Tensor]:
        divisor = self.weights.pop(scan)
        return {unit: values / divisor for unit, values in self.sums.pop(scan).items()}
