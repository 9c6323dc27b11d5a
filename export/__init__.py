"""From event files to tables: a reader of TensorBoard's format, CSV and Parquet, summary statistics, and the call to R."""
