"""The style of the HTML report: light and dark, from a phone to a desk."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1d1f23; --muted: #5d646e; --line: #dfe2e6; --soft: #f5f6f8;
  --accent: #2459a0; --good: #17693a; --good-soft: #e2f3e8; --fair: #7d4a00; --fair-soft: #fdeed3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --ink: #e6e8eb; --muted: #a3abb5; --line: #34383e; --soft: #1e2125;
    --accent: #8ab8f5; --good: #86d9a5; --good-soft: #173423; --fair: #f2c078; --fair-soft: #3d2c10;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
body > * { max-width: 72rem; margin-inline: auto; padding-inline: 1.25rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 2rem 0 0.5rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 0.5rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 0.5rem; }
p, ul { max-width: 46rem; margin: 0.75rem 0; }
ul { padding-left: 1.25rem; }
li { margin: 0.35rem 0; }
a { color: var(--accent); }
section, footer { margin-top: 2.5rem; padding-top: 2rem; border-top: 1px solid var(--line); }
.muted, .legend, figcaption, footer { color: var(--muted); font-size: 0.9rem; }
.lead { font-weight: 600; }
.took { color: var(--muted); white-space: nowrap; font-size: 0.9rem; font-weight: 400; }
.scroll { overflow-x: auto; max-width: 100%; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.7rem; text-align: right; vertical-align: top; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; font-weight: 600; border-bottom: 2px solid var(--line); }
thead th { color: var(--muted); line-height: 1.3; }
tbody th { font-weight: 500; white-space: nowrap; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th:first-child, .left { text-align: left; }
th:first-child { padding-left: 0; }
.summary td, .summary th { text-align: left; white-space: normal; }
.summary .number { text-align: right; white-space: nowrap; }
.mark { display: inline-block; border-radius: 0.4rem; padding: 0.05rem 0.5rem; font-weight: 600; }
.good { background: var(--good-soft); color: var(--good); }
.fair { background: var(--fair-soft); color: var(--fair); }
.none { background: var(--soft); color: var(--muted); }
.warning { border-left: 4px solid var(--fair); padding-left: 0.75rem; }
pre {
  overflow-x: auto; background: var(--soft); border: 1px solid var(--line); border-radius: 0.5rem;
  padding: 0.8rem 1rem; margin: 0.75rem 0;
  font: 0.85rem/1.5 ui-monospace, Menlo, Consolas, monospace;
}
figure { margin: 1.5rem 0; }
figure .scroll { margin: 0 0 0.5rem; border-radius: 0.5rem; background: #ffffff; padding: 0.4rem; }
figure .scroll { border: 1px solid var(--line); width: fit-content; }
img { display: block; height: auto; max-width: 100%; }
figcaption { max-width: 46rem; }
@media (max-width: 44rem) {
  h1 { font-size: 1.45rem; }
  h2 { font-size: 1.2rem; }
  body > * { padding-inline: 1rem; }
  img { max-width: none; width: max(100%, 40rem); }
  figure .scroll { width: auto; }
  .data th:first-child { position: sticky; left: 0; background: var(--page); padding-right: 1rem; }
  .data th:first-child { max-width: 9rem; white-space: normal; }
  .summary, .summary tbody, .summary tr, .summary th, .summary td { display: block; width: 100%; }
  .summary thead { display: none; }
  .summary tr { padding: 0.75rem 0; }
  .summary tr > *, .summary tbody tr + tr > * { border: 0; }
  .summary tbody tr + tr { border-top: 1px solid var(--line); }
  .summary th { font-weight: 600; font-size: 1rem; padding: 0 0 0.2rem; }
  .summary td, .summary .number { padding: 0.1rem 0 0.1rem 7rem; text-align: left; }
  .summary td, .summary .number { text-indent: -7rem; white-space: normal; }
  .summary td::before { content: attr(data-label); color: var(--muted); }
  .summary td::before { display: inline-block; width: 7rem; text-indent: 0; }
  .summary td > * { text-indent: 0; }
}
@media print { section { break-inside: auto; } figure, tr { break-inside: avoid; } }
"""
