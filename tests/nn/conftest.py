import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """Give every test the same random numbers, in whatever order the tests run."""
    state = torch.get_rng_state()
    torch.manual_seed(7)
    yield
    torch.set_rng_state(state)
