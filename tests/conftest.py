import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Run every test on one thread: reproducible, and kind to the other workers."""
    torch.set_num_threads(1)


@pytest.fixture
def global_random_state_stays():
    """Fail the test if it changes the global random state of Python, numpy or torch."""
    before = _global_random_state()
    yield
    for library, state in _global_random_state().items():
        assert state == before[library], f"the test changed the global random state of {library}"


def _global_random_state() -> dict[str, object]:
    algorithm, key, *rest = np.random.get_state()
    return {
        "random": random.getstate(),
        "numpy": (algorithm, key.tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
