# Tables of curves: measured columns as numbers, what tells curves apart as factors in the order of the table.

# Read a table whose `measures` are numbers and whose other `wanted` columns are there; all others are text.
read_curves <- function(path, measures, wanted) {
  header <- names(readr::read_csv(path, n_max = 0, col_types = readr::cols(.default = "c"), name_repair = "minimal"))
  absent <- setdiff(c(measures, Filter(nzchar, wanted)), header)
  if (length(absent) > 0) {
    stop_with(path, " has no column ", absent[1], "; it has: ", paste(header, collapse = ", "))
  }
  types <- setNames(rep(list(readr::col_character()), length(header)), header)
  types[measures] <- list(readr::col_double())
  table <- readr::read_csv(path, col_types = do.call(readr::cols, types), na = "", name_repair = "minimal")
  if (nrow(table) == 0) stop_with(path, " has no rows: no run has finished yet")
  table
}

# A column as a factor: numbers in their order, anything else in that of the table.
as_levels <- function(values) {
  levels <- unique(as.character(values))
  numbers <- suppressWarnings(as.numeric(levels))
  factor(as.character(values), levels = if (anyNA(numbers)) levels else levels[order(numbers)])
}

# Numbers alone would say nothing: they are named by their column.
named_levels <- function(values, name) {
  found <- as_levels(values)
  if (!anyNA(suppressWarnings(as.numeric(levels(found))))) levels(found) <- paste0(name, " = ", levels(found))
  found
}

refuse_repeats <- function(table, by, path) {
  if (anyDuplicated(table[by])) {
    stop_with(path, " has several rows for one point: choose colour and facet so that they tell all curves apart")
  }
}

# "5", or "3 to 5" where points have different numbers of runs.
span <- function(numbers) paste(unique(range(numbers)), collapse = " to ")
