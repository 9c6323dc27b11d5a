# Success rate, solved-at step and sparsity error over an axis, one colour per model.
#
#   Rscript range_success.R summary.csv out.pdf x=range colour=model
#
# Draws what the table says, and computes no statistics. Options:
#   x, colour       columns of the table (colour may be empty: one colour)
#   estimate        mean | published: which estimate of the last two facets; published is the fit shown in the papers
#   facets          which facets, of success,solved_at,sparsity
#   x_label         title of the x axis
#   unit            what one run is to the reader of the caption: seeds, runs ...

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")

titles <- c(success = "Success rate", solved_at = "Solved at iteration step", sparsity = "Sparsity error")
page <- list(width = 13.968, height = 5.7, scale = 1.4)

options <- arguments(list(
  x = "range", colour = "model", estimate = "mean", facets = paste(names(titles), collapse = ","), x_label = "",
  unit = "runs"
))
if (!options$estimate %in% c("mean", "published")) stop_with("estimate is mean or published, not ", options$estimate)
facets <- strsplit(options$facets, ",")[[1]]
if (length(facets) == 0 || !all(facets %in% names(titles))) {
  stop_with("facets are some of ", paste(names(titles), collapse = ","), ", not ", options$facets)
}

table <- read_summary(options$table)
table$x <- in_order(table, options$x, "x")
table$colour <- if (options$colour == "") factor("all") else in_order(table, options$colour, "colour")
table <- filter(table, !is.na(x))
table$colour <- addNA(table$colour, ifany = TRUE)
if (nrow(table) == 0) stop_with("no row of ", options$table, " has a value in the column ", options$x)
if (anyDuplicated(table[c("x", "colour")])) {
  stop_with(
    "the table has several rows for one ", options$x, if (options$colour != "") paste(" and", options$colour),
    ": summarise it by these columns, or choose x and colour so that they tell its rows apart"
  )
}

# One row per mark: facet, x, colour, estimate and interval.
marks <- bind_rows(lapply(facets, function(facet) {
  column <- if (facet == "success") facet else paste0(facet, "_", options$estimate)
  tibble(
    facet = facet, x = table$x, colour = table$colour,
    value = table[[column]], lower = table[[paste0(column, "_lower")]], upper = table[[paste0(column, "_upper")]]
  )
}))
# Every colour keeps its place beside the others at every x, also where it has nothing to show.
marks <- complete(marks, facet, x, colour)
marks$facet <- factor(marks$facet, levels = facets, labels = titles[facets])
# The axes begin at 0; an interval that reaches below is cut there.
marks$lower <- pmax(marks$lower, 0)
marks <- mutate(marks, across(c(value, lower, upper), without_dust))

success <- titles[["success"]]
# Each axis begins at 0; that of the success rate ends at 1. A facet without any number says so. Where nothing is above
# 0, the axis is given a tiny range, which gets no tick but that at 0.
tiny <- 1e-200
by_facet <- summarise(
  group_by(marks, facet), empty = all(is.na(value)), flat = max(0, value, upper, na.rm = TRUE) == 0, .groups = "drop"
)
frame <- bind_rows(
  tibble(facet = by_facet$facet, value = 0),
  tibble(facet = by_facet$facet, value = ifelse(by_facet$facet == success, 1, ifelse(by_facet$flat, tiny, 0)))
)
notes <- tibble(
  facet = by_facet$facet[by_facet$empty], x = (nlevels(marks$x) + 1) / 2, value = tiny / 2,
  said = if (any(table$solved > 0)) "not measured" else "no run solved"
)
ticks <- function(limits) if (max(limits) < 2 * tiny) 0 else scales::extended_breaks()(limits)

span <- function(numbers) paste(unique(range(numbers)), collapse = " to ")
caption <- sprintf(
  "n = %s %s per point, %d of %d runs; bars: 95\u00a0%% confidence intervals", span(table$n), options$unit,
  sum(table$n), sum(table$runs)
)

count <- nlevels(marks$colour)
# At least 0.3 between the first and the last colour, and room for each of many.
dodge <- position_dodge(width = min(0.8, max(0.3, 0.15 * count)))
# Fewer facets make a narrower page, as in the papers: 5 cm for one. A legend of several lines makes it higher.
width <- c(5, 9.5, page$width)[length(facets)]
lines <- legend_lines(levels(marks$colour), width * page$scale)
legend <- if (count > 1) guide_legend(nrow = lines, byrow = TRUE) else "none"
plot <- ggplot(marks, aes(x = x, y = value, colour = colour, shape = colour)) +
  geom_blank(data = frame, aes(x = marks$x[1], y = value), inherit.aes = FALSE) +
  geom_errorbar(aes(ymin = lower, ymax = upper), position = dodge, width = 0, linewidth = 0.6, alpha = 0.5, na.rm = TRUE) +
  geom_point(position = dodge, size = 1.3, na.rm = TRUE) +
  geom_text(
    data = notes, aes(x = x, y = value, label = said), inherit.aes = FALSE, colour = "grey45", size = 3
  ) +
  facet_wrap(vars(facet), nrow = 1, scales = "free_y") +
  scale_x_discrete(drop = FALSE, labels = short_labels) +
  scale_y_continuous(breaks = ticks, labels = number_labels, expand = expansion(mult = c(0.02, 0.06))) +
  scale_colour_manual(values = colours(count), drop = FALSE, na.value = "grey50") +
  scale_shape_manual(values = shapes(count), drop = FALSE, na.value = 1) +
  guides(colour = legend, shape = legend) +
  labs(x = if (options$x_label == "") NULL else options$x_label, y = NULL, caption = with_lineage(caption, width * page$scale)) +
  theme_orch() +
  turned(levels(marks$x))

save_figure(plot, options$out, width, page$height + 0.32 * (lines - 1), page$scale)
