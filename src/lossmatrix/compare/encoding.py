# SPDX-License-Identifier: BSD-3-Clause
"""Features as a network reads them, by statistics of the training rows only."""
# scikit-learn and pandas carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import numpy
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lossmatrix.compare.task import Indices, Numbers

MOST_CATEGORIES = 100  # a column with more keeps the commonest ones and pools the others


def encode(features: pandas.DataFrame | Numbers, fit: Indices) -> Numbers:
    """All rows as numbers (N, p): standardised, missing cells filled and flagged, words one-hot.

    A missing number becomes the median, with a column that says so; a missing word is a category
    of its own; a category that the training rows `fit` do not have is all zeros.
    """
    if not isinstance(features, pandas.DataFrame):
        return numpy.asarray(StandardScaler().fit(features[fit]).transform(features), float)
    numeric = list(features.select_dtypes("number"))
    words = [name for name in features if name not in numeric]
    filled = {name: features[name].where(features[name].notna(), "").astype(str) for name in words}
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    categories = OneHotEncoder(
        handle_unknown="ignore", max_categories=MOST_CATEGORIES, sparse_output=False
    )
    encoder: Any = ColumnTransformer([("numbers", numbers, numeric), ("words", categories, words)])
    table = features.assign(**filled)
    return numpy.asarray(encoder.fit(table.iloc[fit]).transform(table), float)
