"""Step, merge and finish on arrays: pure functions and values that know no Dask and no Zarr."""
