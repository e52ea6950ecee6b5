// SPDX-License-Identifier: BSD-3-Clause
// Draws the figures of the page in the colours of its style sheet, and again when these change.
"use strict";
{
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { displayModeBar: false, responsive: true };

  // The figure with every "var(--name)" replaced by the value it has on the page now.
  const themed = (value, style) => {
    if (Array.isArray(value)) return value.map((each) => themed(each, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, style)]));
    }
    const isName = typeof value === "string" && value.startsWith("var(--");
    return isName ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    for (const [id, figure] of Object.entries(figures)) {
      Plotly.react(id, themed(figure.data, style), themed(figure.layout, style), config);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
