"""brainpred: decode fMRI into PredNet's representations, and turn them back into movies.

Everything a user needs is here; names are imported when first used, so that ``import brainpred`` is quick.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainpred.decoding.decoder import BrainDecoder
    from brainpred.decoding.result import load_result
    from brainpred.features.extract import FeatureConfig, extract_features
    from brainpred.models.aligndraw import AlignDRAW
    from brainpred.models.bridge import LatentBridge
    from brainpred.models.prednet import PredNet
    from brainpred.numerics.ridge.estimator import BandedRidgeCV
    from brainpred.progress import RichReporter
    from brainpred.recordings.readers import load_recording
    from brainpred.recordings.recording import Recording
    from brainpred.reporting.group import write_group_report
    from brainpred.reporting.page import write_report
    from brainpred.studies.decode import DecodeConfig, decode_subject
    from brainpred.studies.encode import EncodeConfig, encode_subject
    from brainpred.studies.reconstruct import reconstruct_subject
    from brainpred.studies.reconstruct_settings import ReconstructConfig
    from brainpred.studies.simulate import SimulationConfig, simulate_subject

# A thread of PyTorch's that waits for another by spinning holds its core. When anything else runs on the machine,
# small networks then become 20 times slower (docs/decisions/0009). OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "AlignDRAW": "brainpred.models.aligndraw",
    "BandedRidgeCV": "brainpred.numerics.ridge.estimator",
    "BrainDecoder": "brainpred.decoding.decoder",
    "DecodeConfig": "brainpred.studies.decode",
    "EncodeConfig": "brainpred.studies.encode",
    "FeatureConfig": "brainpred.features.extract",
    "LatentBridge": "brainpred.models.bridge",
    "PredNet": "brainpred.models.prednet",
    "ReconstructConfig": "brainpred.studies.reconstruct_settings",
    "Recording": "brainpred.recordings.recording",
    "RichReporter": "brainpred.progress",
    "SimulationConfig": "brainpred.studies.simulate",
    "decode_subject": "brainpred.studies.decode",
    "encode_subject": "brainpred.studies.encode",
    "extract_features": "brainpred.features.extract",
    "load_recording": "brainpred.recordings.readers",
    "load_result": "brainpred.decoding.result",
    "reconstruct_subject": "brainpred.studies.reconstruct",
    "simulate_subject": "brainpred.studies.simulate",
    "write_group_report": "brainpred.reporting.group",
    "write_report": "brainpred.reporting.page",
}

__all__ = [
    "AlignDRAW",
    "BandedRidgeCV",
    "BrainDecoder",
    "DecodeConfig",
    "EncodeConfig",
    "FeatureConfig",
    "LatentBridge",
    "PredNet",
    "ReconstructConfig",
    "Recording",
    "RichReporter",
    "SimulationConfig",
    "decode_subject",
    "encode_subject",
    "extract_features",
    "load_recording",
    "load_result",
    "reconstruct_subject",
    "simulate_subject",
    "write_group_report",
    "write_report",
]

try:
    __version__ = version("brainpred")
except PackageNotFoundError:
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brainpred' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
