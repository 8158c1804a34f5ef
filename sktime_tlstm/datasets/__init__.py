"""A small real data set with known future covariates."""

from sktime_tlstm.datasets.metro_traffic import load_metro_traffic

__all__ = ["load_metro_traffic"]
