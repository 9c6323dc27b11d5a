# How the error of two-layer networks depends on one weight of each layer: a map per module, bright where it is small.
#
#   python -m experiments.arithmetic.landscape > landscape.csv
#   Rscript loss_landscape.R landscape.csv landscape.pdf
#
# The table has columns module, w1, w2 and loss. Options:
#   columns         maps side by side

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")

options <- arguments(list(columns = "3"))
table <- readr::read_csv(options$table, col_types = "cddd")
absent <- setdiff(c("module", "w1", "w2", "loss"), names(table))
if (length(absent) > 0) stop_with(options$table, " is no loss landscape: it has no column ", absent[1])
table$module <- factor(table$module, levels = unique(table$module))
columns <- as.integer(options$columns)
rows <- ceiling(nlevels(table$module) / columns)

plot <- ggplot(table, aes(x = w1, y = w2, fill = pmin(pmax(loss, 1e-1), 1e4))) +
  geom_raster() +
  geom_contour(aes(z = log10(pmin(pmax(loss, 1e-1), 1e4))), colour = "white", linewidth = 0.15, alpha = 0.6, bins = 12) +
  facet_wrap(vars(module), ncol = columns) +
  scale_fill_viridis_c(
    direction = -1, trans = "log10", labels = scales::label_log(), name = "error",
    guide = guide_colourbar(barwidth = unit(50, "mm"), barheight = unit(2.5, "mm"))
  ) +
  coord_equal(expand = FALSE) +
  labs(x = expression(w[1]), y = expression(w[2])) +
  theme_orch() +
  theme(legend.title = element_text(size = rel(0.9), margin = margin(r = 8)), panel.grid = element_blank(), panel.spacing.x = unit(8, "mm"))

save_figure(plot, options$out, 4.3 * columns, 4.2 * rows + 1.6, 1.4)
