"""Pictures of results, in scikit-learn's Display manner; matplotlib is imported by ``plot`` only.

A display holds the numbers of one picture and draws it as often as asked::

    display = SpectrumDisplay.from_estimator(model)
    display.plot(ax=ax)
    display.figure_.savefig("spectrum.png")
"""

from linalgkit.plotting._coefficients import CoefficientsDisplay
from linalgkit.plotting._filter import FilterDisplay
from linalgkit.plotting._patches import EigenPatchesDisplay
from linalgkit.plotting._points import DesignDisplay
from linalgkit.plotting._slices import FunctionDisplay, Slice
from linalgkit.plotting._spectrum import SpectrumDisplay
from linalgkit.plotting._support import SupportDisplay

__all__ = [
    "CoefficientsDisplay",
    "DesignDisplay",
    "EigenPatchesDisplay",
    "FilterDisplay",
    "FunctionDisplay",
    "Slice",
    "SpectrumDisplay",
    "SupportDisplay",
]
