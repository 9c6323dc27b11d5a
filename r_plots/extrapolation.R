# Accuracy by the length of strings or the size of mazes: how far what was learned on easy samples carries.
#
#   python -m experiments.thinking.tables extrapolation runs/think > extrapolation.csv
#   Rscript extrapolation.R extrapolation.csv extrapolation.pdf colour=iterations facet=train_mode
#
# The table has columns test_data, test_acc_mean, test_acc_sem, runs and train_data. A dashed line is at what was trained
# on. Options:
#   colour          column whose values are told apart by colour
#   facet           column with a panel for each of its values; empty: one panel
#   x_label         title of the x axis
#   unit            what one run is to the reader of the caption: seeds, runs ...

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")
source(file.path(here, "curves.R"), encoding = "UTF-8")

options <- arguments(list(colour = "iterations", facet = "", x_label = "Length of the string (bits)", unit = "runs"))
measures <- c("test_data", "test_acc_mean", "test_acc_sem", "runs", "train_data")
table <- read_curves(options$table, measures, c(options$colour, options$facet))
table$colour <- named_levels(table[[options$colour]], options$colour)
table$facet <- if (options$facet == "") factor("") else named_levels(table[[options$facet]], options$facet)
refuse_repeats(table, c("colour", "facet", "test_data"), options$table)

count <- nlevels(table$colour)
panels <- nlevels(table$facet)
trained <- distinct(table, facet, train_data)
width <- min(4 + 4.5 * panels, 17)
lines <- legend_lines(levels(table$colour), width * 1.4)
legend <- if (count > 1) guide_legend(nrow = lines, byrow = TRUE) else "none"
caption <- sprintf(
  "n = %s %s per point; bars: one standard error; dashed: trained on; best: the number of iterations with the highest mean",
  span(table$runs), options$unit
)

plot <- ggplot(table, aes(x = test_data, y = test_acc_mean, colour = colour)) +
  geom_vline(data = trained, aes(xintercept = train_data), linetype = "dashed", colour = "grey60", linewidth = 0.3) +
  geom_errorbar(
    aes(ymin = test_acc_mean - test_acc_sem, ymax = test_acc_mean + test_acc_sem),
    width = 0, linewidth = 0.5, alpha = 0.5, na.rm = TRUE
  ) +
  geom_line(linewidth = 0.5) +
  geom_point(aes(shape = colour), size = 1.5) +
  facet_wrap(vars(facet), nrow = 1) +
  scale_x_continuous(breaks = spaced(table$test_data), expand = expansion(mult = 0.08)) +
  scale_y_continuous(expand = expansion(mult = c(0.02, 0.04))) +
  coord_cartesian(ylim = c(0, 100)) +
  scale_colour_manual(values = colours(count), drop = FALSE) +
  scale_shape_manual(values = shapes(count), drop = FALSE) +
  guides(colour = legend, shape = legend) +
  labs(x = options$x_label, y = "Accuracy (%)", caption = with_lineage(caption, width * 1.4)) +
  theme_orch()
if (panels == 1 && options$facet == "") plot <- plot + theme(strip.text = element_blank())

save_figure(plot, options$out, width, 6 + 0.32 * (lines - 1), 1.4)
