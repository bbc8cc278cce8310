"""DVC projects whose stages are shell commands, for tests of the flows."""

from pathlib import Path

from dvc.repo import Repo

DVC_FILE = """
stages:
  third:
    cmd: cat b.txt && echo the end > reports/latest/table.md
    deps: [b.txt]
    outs: [reports/latest/table.md: {cache: false}]
  second:
    cmd: printf 'bar 10%%\\rbar 50%%\\rbar 100%%\\n' && cp a.txt b.txt
    deps: [a.txt]
    outs: [b.txt]
  first:
    cmd: echo "first speaks" && echo '{"done":5,"dropped":{"too small":2}}' > logs/first.json && echo a > a.txt
    outs: [a.txt]
  lonely:
    cmd: echo "lonely breaks" && exit 3
  away:
    cmd: |
      echo run >> runs/away
      test $(wc -l < runs/away) = 3 || { echo "error: tracking server http://127.0.0.1:9: gone"; exit 2; }
  full:
    cmd: |
      echo run >> runs/full
      test $(wc -l < runs/full) = 3 || head -c 9 /dev/zero > /dev/full
  wrong:
    cmd: |
      echo run >> runs/wrong
      echo "error: params.yaml: seed = -1"
      exit 2
"""
"""Stages in the wrong order: one draws a progress bar, one breaks, and three fail for reasons that may pass, or may not."""


def make_dvc_project(folder: Path, stages: str) -> None:
    """Make a DVC project without git in the folder."""
    (folder / "dvc.yaml").write_text(stages)
    Repo.init(str(folder), no_scm=True).close()
    (folder / ".dvc" / "config").write_text(f"[core]\n    no_scm = True\n    site_cache_dir = {folder / 'site'}\n")
