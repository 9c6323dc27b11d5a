# Errors of modules at their gold weights, by the range of the inputs: Figure 5 of the division paper.
#
#   python -m experiments.arithmetic.thresholds gold > gold.csv
#   Rscript gold_errors.R gold.csv fig5.pdf
#
# The table has columns module, parameter (easy, medium, hard), test.mse and range, in the order to be drawn.

# R writes a space in its own arguments as ~+~.
here <- dirname(normalizePath(gsub("~+~", " ", sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]), fixed = TRUE)))
source(file.path(here, "theme.R"), encoding = "UTF-8")
source(file.path(here, "read.R"), encoding = "UTF-8")

levels <- c(easy = "Input [a], target 1/a", medium = "Input [a, b], target 1/a", hard = "Input [a, b], target a/b")
options <- arguments(list())
table <- readr::read_csv(options$table, col_types = "ccdc")
absent <- setdiff(c("module", "parameter", "test.mse", "range"), names(table))
if (length(absent) > 0) stop_with(options$table, " is no table of gold errors: it has no column ", absent[1])

table$range <- factor(table$range, levels = unique(table$range))
table$module <- factor(table$module, levels = unique(table$module))
table$level <- factor(table$parameter, levels = names(levels), labels = levels)

count <- nlevels(table$module)
plot <- ggplot(table, aes(x = range, y = test.mse, colour = module, shape = module, group = module)) +
  geom_line(linewidth = 0.4) +
  geom_point(size = 1.3) +
  facet_wrap(vars(level), nrow = 1) +
  scale_y_log10(limits = c(1e-13, 1e21), breaks = 10^seq(-12, 20, 4), labels = scales::label_log()) +
  scale_colour_manual(values = colours(count)) +
  scale_shape_manual(values = shapes(count)) +
  labs(x = NULL, y = "Mean squared error", caption = "At gold weights, 10\u2009000 inputs of single precision; nothing is trained.") +
  theme_orch() +
  theme(axis.text.x = element_text(angle = 45, hjust = 1))

save_figure(plot, options$out, 13.968, 6.2, 1.4)
