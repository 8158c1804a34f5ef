"""Neural forecasters for sktime: LSTM encoder-decoders refined by gated transformer blocks.

The forecasters are loaded on first use, so ``import sktime_tlstm`` loads neither torch nor sktime.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sktime_tlstm.data.panels import PanelDataset
    from sktime_tlstm.flagship import TransformerLSTMForecaster
    from sktime_tlstm.forecaster import SkorchForecaster
    from sktime_tlstm.notices import ForecastWarning

__version__ = "0.1.0"

__all__ = ["ForecastWarning", "PanelDataset", "SkorchForecaster", "TransformerLSTMForecaster"]

_HOME_OF = {
    "ForecastWarning": "sktime_tlstm.notices",
    "PanelDataset": "sktime_tlstm.data.panels",
    "SkorchForecaster": "sktime_tlstm.forecaster",
    "TransformerLSTMForecaster": "sktime_tlstm.flagship",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}. Its public names are: "
            f"{', '.join(__all__)}.",
            name=name,
        )
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
