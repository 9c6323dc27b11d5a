# Success rate, solved-at step and sparsity error against a parameter: points joined by lines, one colour per model.
#
#   Rscript parameter.R summary.csv out.pdf x=hidden_size colour=model
#
# As range_success.R, but x is a number where all its labels are numbers, and its order tells a story. Options:
#   x, colour       columns of the table (colour may be empty: one colour)
#   estimate        mean | published | median: which estimate of the last two facets; a median has no interval
#   facets          which facets, of success,solved_at,sparsity
#   log             true: a logarithmic x axis
#   x_label         title of the x axis; the column's name if empty
#   unit            what one run is to the reader of the caption: seeds, runs ...

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")

titles <- c(success = "Success rate", solved_at = "Solved at iteration step", sparsity = "Sparsity error")
page <- list(width = 13.968, height = 5.7, scale = 1.4)

options <- arguments(list(
  x = "x", colour = "model", estimate = "mean", facets = paste(names(titles), collapse = ","), log = "false",
  x_label = "", unit = "runs"
))
if (!options$estimate %in% c("mean", "published", "median")) {
  stop_with("estimate is mean, published or median, not ", options$estimate)
}
facets <- strsplit(options$facets, ",")[[1]]
if (length(facets) == 0 || !all(facets %in% names(titles))) {
  stop_with("facets are some of ", paste(names(titles), collapse = ","), ", not ", options$facets)
}

table <- read_summary(options$table)
table$x <- in_order(table, options$x, "x")
table$colour <- if (options$colour == "") factor("all") else in_order(table, options$colour, "colour")
table <- filter(table, !is.na(x))
if (nrow(table) == 0) stop_with("no row of ", options$table, " has a value in the column ", options$x)
if (anyDuplicated(table[c("x", "colour")])) {
  stop_with("the table has several rows for one ", options$x, " and ", options$colour, ": summarise it by these columns")
}
numbers <- suppressWarnings(as.numeric(levels(table$x)))
numeric <- !anyNA(numbers)
if (options$log == "true" && !(numeric && all(numbers > 0))) {
  stop_with("log=true needs an x of positive numbers, and ", options$x, " has others")
}
if (numeric) table$x <- numbers[table$x]

# One row per mark: facet, x, colour, estimate and interval.
marks <- bind_rows(lapply(facets, function(facet) {
  column <- if (facet == "success") facet else paste0(facet, "_", options$estimate)
  bounds <- paste0(column, c("_lower", "_upper"))
  has_bounds <- all(bounds %in% names(table))
  tibble(
    facet = facet, x = table$x, colour = table$colour, value = table[[column]],
    lower = if (has_bounds) pmax(table[[bounds[1]]], 0) else NA_real_, upper = if (has_bounds) table[[bounds[2]]] else NA_real_
  )
}))
marks$facet <- factor(marks$facet, levels = facets, labels = titles[facets])
marks <- mutate(marks, across(c(value, lower, upper), without_dust))
frame <- tibble(facet = factor(titles[facets], levels = titles[facets]), value = 0)
if ("success" %in% facets) frame <- bind_rows(frame, tibble(facet = factor(titles["success"], titles[facets]), value = 1))

span <- function(numbers) paste(unique(range(numbers)), collapse = " to ")
caption <- sprintf(
  "n = %s %s per point, %d of %d runs; bars: 95\u00a0%% confidence intervals", span(table$n), options$unit,
  sum(table$n), sum(table$runs)
)
count <- nlevels(marks$colour)
width <- c(6.5, 10.5, page$width)[length(facets)]
lines <- legend_lines(levels(marks$colour), width * page$scale)
legend <- if (count > 1) guide_legend(nrow = lines, byrow = TRUE) else "none"
x_scale <- if (!numeric) {
  scale_x_discrete(drop = FALSE, labels = short_labels)
} else if (options$log == "true") {
  scale_x_log10(breaks = spaced(numbers, log = TRUE), labels = function(breaks) format(breaks, trim = TRUE, digits = 3))
} else {
  scale_x_continuous(breaks = if (length(numbers) <= 10) spaced(numbers) else waiver())
}

plot <- ggplot(marks, aes(x = x, y = value, colour = colour, shape = colour, group = colour)) +
  geom_blank(data = frame, aes(x = marks$x[1], y = value), inherit.aes = FALSE) +
  geom_errorbar(aes(ymin = lower, ymax = upper), width = 0, linewidth = 0.5, alpha = 0.4, na.rm = TRUE) +
  geom_line(linewidth = 0.4, na.rm = TRUE) +
  geom_point(size = 1.3, na.rm = TRUE) +
  facet_wrap(vars(facet), nrow = 1, scales = "free_y") +
  x_scale +
  scale_y_continuous(labels = number_labels, expand = expansion(mult = c(0.02, 0.06))) +
  scale_colour_manual(values = colours(count), drop = FALSE, na.value = "grey50") +
  scale_shape_manual(values = shapes(count), drop = FALSE, na.value = 1) +
  guides(colour = legend, shape = legend) +
  labs(
    x = if (options$x_label == "") options$x else options$x_label, y = NULL,
    caption = with_lineage(caption, width * page$scale)
  ) +
  theme_orch()
if (!numeric) plot <- plot + turned(levels(marks$x))

save_figure(plot, options$out, width, page$height + 0.32 * (lines - 1), page$scale)
