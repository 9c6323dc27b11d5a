#!/bin/sh
# debian.sh WHAT…: install the Debian packages missing for figures, compiler, pdf, slurm or venv, where this user may.
# Where it may not, it says in one sentence what is missing and what would install it, and returns 1.
set -u

missing=""
why=""
need() { # need WHY COMMAND PACKAGES…: remember the packages unless the command succeeds
    reason=$1 probe=$2
    shift 2
    sh -c "$probe" >/dev/null 2>&1 || { missing="$missing $*"; why="$why${why:+ and }$reason"; }
}
for what in "$@"; do
    case $what in
    figures) need "figures need R" "Rscript -e 'for (p in c(\"ggplot2\", \"readr\", \"dplyr\", \"tidyr\", \"scales\")) library(p, character.only = TRUE)'" \
        r-base-core r-cran-ggplot2 r-cran-readr r-cran-dplyr r-cran-tidyr r-cran-scales ;;
    compiler) need "compiled lanes need a C++ compiler (training is slower without)" "command -v g++ || command -v clang++" g++ ;;
    pdf) need "tests read the text of figures" "command -v pdftotext" poppler-utils ;;
    slurm) need "tests on a real scheduler start a private Slurm" \
        "PATH=\$PATH:/usr/sbin; for p in slurmctld slurmd sbatch slurmdbd mariadbd; do command -v \$p || exit 1; done; ls /usr/lib/*/slurm-wlm/accounting_storage_mysql.so" \
        slurmctld slurmd slurm-client slurmdbd slurm-wlm-mysql-plugin mariadb-server ;;
    venv) need "a virtual environment needs Python's venv module" "python3 -c 'import ensurepip'" python3-venv ;;
    *) echo "debian.sh: $what is none of: figures compiler pdf slurm venv" >&2; exit 2 ;;
    esac
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "note: $why; this is not Debian or Ubuntu: install the equivalent of$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then sudo=""
elif sudo -n true 2>/dev/null; then sudo="sudo -n"
else
    echo "note: $why: ask for  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing$missing ($why)"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # both are lists of words
{ $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >/dev/null || {
    echo "note: $why: apt-get could not install$missing" >&2
    exit 1
}
