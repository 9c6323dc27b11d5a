# The command line of a figure, and the tables it reads.

# Read `script table.csv out.pdf name=value ...`. Unknown names are refused, with the ones there are.
arguments <- function(defaults) {
  given <- commandArgs(trailingOnly = TRUE)
  named <- grepl("^[A-Za-z_]+=", given)
  files <- given[!named]
  if (length(files) != 2) {
    stop_with("usage: Rscript ", script_name(), " table.csv out.pdf [", paste0(names(defaults), "=...", collapse = " "), "]")
  }
  options <- defaults
  for (word in given[named]) {
    name <- sub("=.*", "", word)
    if (!name %in% names(defaults)) {
      stop_with(name, " is no option of ", script_name(), "; there are: ", paste(names(defaults), collapse = ", "))
    }
    options[[name]] <- sub("^[^=]*=", "", word)
  }
  if (!file.exists(files[1])) stop_with("there is no table ", files[1])
  c(list(table = files[1], out = files[2]), options)
}

script_name <- function() basename(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]))

counts <- c("runs", "n", "solved")
statistics <- c(
  "success", "success_lower", "success_upper",
  as.vector(outer(
    c("_mean", "_mean_lower", "_mean_upper", "_published", "_published_lower", "_published_upper", "_median", "_max"),
    c("solved_at", "sparsity"), function(end, start) paste0(start, end)
  ))
)

# Read a summary table. Numbers are read as numbers, every other column as text: labels such as 1e-3 or 010 stay what
# they are. Only an empty field is missing.
read_summary <- function(path) {
  header <- names(readr::read_csv(path, n_max = 0, col_types = readr::cols(.default = "c"), name_repair = "minimal"))
  absent <- setdiff(c(counts, statistics), header)
  if (length(absent) > 0) stop_with(path, " is not a summary table: it has no column ", absent[1])
  types <- setNames(rep(list(readr::col_character()), length(header)), header)
  types[counts] <- list(readr::col_integer())
  types[statistics] <- list(readr::col_double())
  table <- readr::read_csv(path, col_types = do.call(readr::cols, types), na = "", name_repair = "minimal")
  if (nrow(table) == 0) stop_with(path, " has no rows: no run has finished yet")
  table
}

# A column as a factor whose levels are in the order of the table's rows, which is the grid's.
in_order <- function(table, name, what) {
  if (!name %in% names(table)) {
    keys <- setdiff(names(table), c(counts, statistics))
    stop_with("the table has no column ", name, " for ", what, "; it has: ", paste(keys, collapse = ", "))
  }
  values <- as.character(table[[name]])
  factor(values, levels = unique(values[!is.na(values)]))
}
