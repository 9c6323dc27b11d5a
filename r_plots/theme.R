# One look for every figure: packages, palette, theme, axis labels, and how a figure is written.

needed <- c("ggplot2", "readr", "dplyr", "tidyr", "scales")

stop_with <- function(...) {
  # A sentence and exit 1: no traceback for what the caller can mend.
  message(...)
  quit(save = "no", status = 1)
}

missing_packages <- needed[!vapply(needed, requireNamespace, logical(1), quietly = TRUE)]
if (length(missing_packages) > 0) {
  stop_with(
    "R lacks ", paste(missing_packages, collapse = ", "), ": apt-get install ",
    paste0("r-cran-", missing_packages, collapse = " ")
  )
}

suppressPackageStartupMessages({
  library(ggplot2)
  library(dplyr)
  library(tidyr)
})

# Text is UTF-8 whatever the shell says; without this a minus sign or an accent stops the drawing.
if (!isTRUE(l10n_info()[["UTF-8"]])) invisible(suppressWarnings(Sys.setlocale("LC_CTYPE", "C.UTF-8")))

# Okabe and Ito's colours can be told apart by colour-blind readers; yellow comes last, as it is faint on white.
okabe_ito <- c("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

# Colours for `count` levels; past the palette's end, evenly spaced hues of equal lightness.
colours <- function(count) {
  if (count <= length(okabe_ito)) okabe_ito[seq_len(count)] else scales::hue_pal(l = 55)(count)
}

# Shapes repeat less often than colours, so that every level differs from all others in one of them.
shapes <- function(count) rep_len(c(16, 17, 15, 18, 8, 3, 4), count)

theme_orch <- function(size = 9) {
  theme_bw(base_size = size) +
    theme(
      plot.title = element_blank(),
      panel.grid.minor = element_blank(),
      panel.grid.major.x = element_blank(),
      panel.grid.major.y = element_line(colour = "grey92", linewidth = 0.3),
      panel.border = element_rect(colour = "grey60", linewidth = 0.4, fill = NA),
      panel.spacing = unit(4, "mm"),
      axis.ticks = element_line(colour = "grey60", linewidth = 0.3),
      axis.text = element_text(colour = "grey20"),
      strip.background = element_blank(),
      strip.text = element_text(size = rel(1), hjust = 0, margin = margin(b = 3)),
      legend.position = "bottom",
      legend.title = element_blank(),
      legend.key.height = unit(4, "mm"),
      legend.margin = margin(0, 0, 0, 0),
      legend.box.spacing = unit(1.5, "mm"),
      plot.caption = element_text(size = rel(0.8), colour = "grey35", hjust = 1),
      plot.caption.position = "plot",
      plot.margin = margin(3, 10, 2, 4)
    )
}

# Labels of one axis: plain where numbers are of ordinary size, 10k where they are large, 2e-7 as a power of ten where they are tiny.
number_labels <- function(breaks) {
  size <- suppressWarnings(max(abs(breaks), na.rm = TRUE))
  if (!is.finite(size) || size == 0) return(ifelse(is.na(breaks), NA, "0"))
  if (size < 1e-3) return(parse(text = ifelse(is.na(breaks), "NA", scientific(breaks))))
  if (size >= 10000) return(scales::label_number(scale_cut = c(0, k = 1e3, M = 1e6, G = 1e9))(breaks))
  scales::label_number(big.mark = "\u2009", drop0trailing = TRUE)(breaks)
}

# The fit that the papers publish lifts sparsity errors of 0 to 1e-16: they are drawn as what they are.
without_dust <- function(values) ifelse(abs(values) < 1e-15, 0, values)

scientific <- function(values) {
  exponent <- ifelse(values == 0, 0, floor(log10(abs(values)) + 1e-9))
  digits <- format(values / 10^exponent, trim = TRUE, digits = 3, drop0trailing = TRUE)
  ifelse(values == 0, "0", ifelse(digits == "1", paste0("10^", exponent), paste0(digits, " %*% 10^", exponent)))
}

# A long x label takes room from the panels: turned by 45 degrees, and cut at 24 characters.
short_labels <- function(text) ifelse(nchar(text) > 24, paste0(substr(text, 1, 23), "\u2026"), text)

# Labels of the x axis turned by 45 degrees. The first one reaches to the left of its panel, and is given the room there.
turned <- function(labels) {
  theme(
    axis.text.x = element_text(angle = 45, hjust = 1),
    plot.margin = margin(3, 10, 2, max(4, 2.8 * nchar(short_labels(labels[1])) - 26))
  )
}

# Those of some numbers whose labels do not run into each other on an axis of one of three panels, the largest first.
spaced <- function(numbers, log = FALSE) {
  numbers <- sort(unique(numbers))
  at <- if (log) log10(numbers) else numbers
  at <- (at - min(at)) / max(diff(range(at)), 1e-300)
  room <- 0.035 + 0.025 * nchar(vapply(numbers, format, "", digits = 3))
  kept <- integer()
  for (i in rev(seq_along(numbers))) {
    if (length(kept) == 0 || at[kept[1]] - at[i] >= (room[kept[1]] + room[i]) / 2) kept <- c(i, kept)
  }
  numbers[kept]
}

# How many lines a legend at the bottom needs, and text broken into lines, for a page of so many cm: by the width of
# an average letter at this theme's sizes, in cm.
legend_lines <- function(labels, page) {
  columns <- max(1, floor(page / (0.145 * max(nchar(as.character(labels)), 1, na.rm = TRUE) + 1)))
  ceiling(length(labels) / columns)
}

wrap <- function(text, page) paste(strwrap(text, floor(page / 0.135)), collapse = "\n")

# A caption for a page of so many cm, and below it what orch says of the data's origin; nothing where a script runs alone.
with_lineage <- function(caption, page) {
  paste(vapply(c(caption, Filter(nzchar, Sys.getenv("ORCH_LINEAGE"))), wrap, "", page), collapse = "\n")
}

# Write a figure as vector PDF and as PNG beside it (300 dpi): both whole, or none.
# Width and height in cm, before the scale, which enlarges the page and so makes the text smaller in print.
save_figure <- function(plot, out, width, height, scale = 1) {
  stem <- sub("\\.pdf$", "", out, ignore.case = TRUE)
  final <- paste0(stem, c(".pdf", ".png"))
  aside <- file.path(dirname(out), paste0(".", basename(stem), ".", Sys.getpid(), c(".part.pdf", ".part.png")))
  on.exit(unlink(aside))
  size <- list(plot = plot, width = width, height = height, units = "cm", scale = scale)
  do.call(ggsave, c(list(filename = aside[1], device = cairo_pdf), size))
  do.call(ggsave, c(list(filename = aside[2], device = grDevices::png, type = "cairo", res = 300, dpi = 300), size))
  if (!all(file.exists(aside)) || !all(file.rename(aside, final))) stop_with("the figure cannot be written to ", out)
  invisible(final)
}
