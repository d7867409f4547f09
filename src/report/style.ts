/** How a report looks: in light and dark, on paper, at any width. Blue and orange are told apart by everyone. */
export const style = `
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --muted: #59616c; --rule: #d5dae1; --card: #f5f6f8;
  --link: #0b57a4; --model: #1b62ab; --guess: #b25600; --good: #1b62ab; --bad: #b25600;
  --run-1: #1b62ab; --run-2: #b25600; --run-3: #00785c; --run-4: #9b3d82; --run-5: #59616c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e4e7eb; --muted: #a2abb6; --rule: #363d46; --card: #1c2127;
    --link: #84bdf8; --model: #74b4f7; --guess: #f0a35c; --good: #74b4f7; --bad: #f0a35c;
    --run-1: #74b4f7; --run-2: #f0a35c; --run-3: #4cc9a4; --run-4: #e39bd0; --run-5: #a2abb6;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 66rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
h1, h2, h3, p, figure, ul, dl, dd { margin: 0; }
h1 { font-size: 1.05rem; font-weight: 600; line-height: 1.3; }
h2 { font-size: 1.4rem; line-height: 1.25; letter-spacing: -0.01em; }
h3 { font-size: 1rem; line-height: 1.35; }
p { max-width: 44rem; }
a { color: var(--link); text-underline-offset: 0.15em; }
code, pre { font: 0.875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
main:focus { outline: none; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 0.5rem; padding: 0.5rem 1rem; background: var(--paper); z-index: 1; }
.muted, figcaption p, caption { color: var(--muted); font-size: 0.9rem; }
header .muted { margin-top: 0.15rem; }

.verdict { margin-top: 1rem; padding: 1.25rem 1.5rem 1.4rem; background: var(--card); border-left: 0.4rem solid var(--muted); border-radius: 0 0.5rem 0.5rem 0; }
.verdict.yes { border-color: var(--good); }
.verdict.no { border-color: var(--bad); }
.verdict .answer { font-size: 1.75rem; font-weight: 650; line-height: 1.2; letter-spacing: -0.015em; }
.verdict p + p { margin-top: 0.6rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem 1.5rem; margin-top: 1.25rem; }
.tiles dt { color: var(--muted); font-size: 0.875rem; }
.tiles dd.value { font-size: 1.6rem; font-weight: 600; line-height: 1.25; color: var(--model); }
.tiles dd.beside { font-size: 0.875rem; color: var(--muted); }
.tiles dd.beside b { color: var(--guess); font-weight: 600; }

nav { margin: 1.25rem 0 0; padding: 0.6rem 0; border-block: 1px solid var(--rule); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0; list-style: none; }
nav a { display: inline-block; padding: 0.2rem 0; }
section { padding-top: 2.5rem; }
section > * + * { margin-top: 1rem; }
section > h2 + * { margin-top: 0.4rem; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 2rem 2.5rem; margin-top: 1.25rem; align-items: start; }
figure { min-width: 0; }
figure > svg { display: block; width: 100%; max-width: 31rem; height: auto; margin-top: 0.5rem; overflow: visible; }
figure.wide > svg { max-width: 44rem; }
figcaption p { margin-top: 0.1rem; }
.plot text { white-space: pre; }
.key { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin-top: 0.75rem; padding: 0; list-style: none; font-size: 0.9rem; }
.key svg { vertical-align: -0.15em; margin-right: 0.35rem; }
.model { color: var(--model); } .guess { color: var(--guess); }

details { margin-top: 0.4rem; font-size: 0.9rem; }
summary { cursor: pointer; color: var(--link); padding: 0.25rem 0; width: fit-content; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.9rem; line-height: 1.35; }
caption { text-align: left; padding-bottom: 0.4rem; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; vertical-align: top; border-bottom: 1px solid var(--rule); font-weight: 400; text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; vertical-align: bottom; }
.words { text-align: left; }
th[scope=row].words { min-width: 8rem; white-space: normal; position: sticky; left: 0; background: var(--paper); }
td.words { white-space: normal; min-width: 8rem; }
td small, th small { display: block; color: var(--muted); font-size: 0.8rem; }
tr.model th { font-weight: 600; }
.changed { font-weight: 600; }
pre { overflow-x: auto; padding: 1rem; background: var(--card); border-radius: 0.4rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); }

@media (max-width: 40rem) {
  body { padding: 1rem 1rem 3rem; }
  .verdict { padding: 1rem 1rem 1.1rem; }
  .verdict .answer { font-size: 1.4rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 0.9rem 1rem; }
  nav li { flex: 1 1 40%; }
  th[scope=row].words { min-width: 8.5rem; max-width: 45vw; }
  th code { font-size: 0.8em; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #000; --muted: #444; --rule: #bbb; --card: #f4f4f4;
    --link: #000; --model: #1b62ab; --guess: #b25600; --good: #1b62ab; --bad: #b25600;
    --run-1: #1b62ab; --run-2: #b25600; --run-3: #00785c; --run-4: #9b3d82; --run-5: #59616c;
  }
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip, details { display: none; }
  section { padding-top: 1.5rem; }
  h2, h2 + p, caption, thead, figcaption { break-after: avoid; }
  th[scope=row].words { position: static; min-width: 11rem; }
  figure, tr, .verdict { break-inside: avoid; }
  .scroll { overflow: visible; }
  .figures { grid-template-columns: 1fr 1fr; gap: 1rem 1.5rem; }
  .verdict, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;
