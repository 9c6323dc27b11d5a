"""From event files to tables: TensorBoard's format, CSV and Parquet, summary statistics, and the call to R."""
