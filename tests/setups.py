"""What many tests set up alike: settings that train in milliseconds, and forecasters with them."""

from sktime_tlstm import TransformerLSTMForecaster

#: A training of a few steps; beside it a test says what it is about.
TRAINING = {
    "max_epochs": 1,
    "batch_size": 8,
    "max_windows_per_epoch": 16,
    "num_samples": 8,
    "random_state": 0,
}
#: The smallest network that has every part.
NETWORK = {"d_model": 4, "num_heads": 2}


def tiny(**parameters):
    """Return a flagship forecaster that trains in milliseconds."""
    return TransformerLSTMForecaster(**{**NETWORK, **TRAINING, **parameters})
