# Accuracy on hard samples while nets think longer: a line per curve, a band of one standard error, the training regime
# shaded.
#
#   python -m experiments.thinking.tables schoopy runs/think > schoopy.csv
#   Rscript schoopy.R schoopy.csv schoopy.pdf colour=train_mode facet=test_data
#
# The table has columns test_iter, test_acc_mean, test_acc_sem, runs and max_iters (T). Options:
#   colour          column whose values are told apart by colour
#   facet           column with a panel for each of its values; empty: one panel
#   x_max           last number of iterations that is shown; empty: all
#   unit            what one run is to the reader of the caption: seeds, runs ...

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")
source(file.path(here, "curves.R"), encoding = "UTF-8")

options <- arguments(list(colour = "model", facet = "", x_max = "", unit = "runs"))
measures <- c("test_iter", "test_acc_mean", "test_acc_sem", "runs", "max_iters")
table <- read_curves(options$table, measures, c(options$colour, options$facet))
table$colour <- named_levels(table[[options$colour]], options$colour)
table$facet <- if (options$facet == "") factor("") else named_levels(table[[options$facet]], options$facet)
if (options$x_max != "") table <- filter(table, test_iter <= as.numeric(options$x_max))
if (nrow(table) == 0) stop_with("no row of ", options$table, " has ", options$x_max, " iterations or fewer")
refuse_repeats(table, c("colour", "facet", "test_iter"), options$table)

# Feed-forward nets have one number of iterations, and a band of one point cannot be seen.
alone <- table %>% group_by(colour, facet) %>% filter(n() == 1) %>% ungroup()
levels(table$colour) <- levels(alone$colour) <- sub("_width=", ", width ", levels(table$colour))

count <- nlevels(table$colour)
panels <- nlevels(table$facet)
regime <- table %>% group_by(facet) %>% summarise(to = max(max_iters), .groups = "drop")
width <- min(4 + 5.5 * panels, 17)
lines <- legend_lines(levels(table$colour), width * 1.4)
legend <- if (count > 1) guide_legend(nrow = lines, byrow = TRUE) else "none"
caption <- sprintf(
  "n = %s %s per point; bands, bars: one standard error; shaded: up to T, as in training",
  span(table$runs), options$unit
)

plot <- ggplot(table, aes(x = test_iter, y = test_acc_mean, colour = colour)) +
  geom_rect(
    data = regime, aes(xmin = -Inf, xmax = to, ymin = -Inf, ymax = Inf), fill = "grey93", inherit.aes = FALSE
  ) +
  geom_ribbon(
    data = filter(table, !is.na(test_acc_sem)), aes(ymin = test_acc_mean - test_acc_sem, ymax = test_acc_mean + test_acc_sem, fill = colour),
    colour = NA, alpha = 0.2, show.legend = FALSE
  ) +
  geom_errorbar(
    data = alone, aes(ymin = test_acc_mean - test_acc_sem, ymax = test_acc_mean + test_acc_sem),
    width = 0, linewidth = 0.5, alpha = 0.5, na.rm = TRUE, show.legend = FALSE
  ) +
  geom_line(linewidth = 0.5) +
  geom_point(aes(shape = colour), size = 1.2) +
  facet_wrap(vars(facet), nrow = 1) +
  scale_x_continuous(breaks = scales::breaks_extended(6, Q = c(1, 5, 2, 4)), expand = expansion(mult = c(0.03, 0.03))) +
  scale_y_continuous(expand = expansion(mult = c(0.02, 0.04))) +
  coord_cartesian(ylim = c(0, 100)) +
  scale_colour_manual(values = colours(count), drop = FALSE) +
  scale_fill_manual(values = colours(count), drop = FALSE) +
  scale_shape_manual(values = shapes(count), drop = FALSE) +
  guides(colour = legend, shape = legend) +
  labs(x = "Test-time iterations", y = "Accuracy (%)", caption = with_lineage(caption, width * 1.4)) +
  theme_orch()
if (panels == 1 && options$facet == "") plot <- plot + theme(strip.text = element_blank())

save_figure(plot, options$out, width, 6 + 0.32 * (lines - 1), 1.4)
