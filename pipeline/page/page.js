// Draws each chart into the element that names it. Colours are CSS variables: the same drawing is
// right in light, in dark and on paper. `ast`: expressions are interpreted, nothing is evaluated.
// Log level 1: errors only (an empty band is no fault).
const charts = JSON.parse(document.getElementById("charts").textContent);
const font = getComputedStyle(document.body).fontFamily;
const text = { labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 12,
  labelColor: "var(--muted)", titleColor: "var(--muted)", titleFontWeight: "normal" };
const config = {
  background: "transparent", font, view: { stroke: null }, text: { font, fontSize: 12 },
  axis: { ...text, gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)" },
  legend: { ...text, orient: "top", labelColor: "var(--ink)", labelLimit: 260, titleOrient: "left",
    symbolOpacity: 1 },
};
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = { width: "container", autosize: { type: "fit-x", contains: "padding" },
    ...charts[place.dataset.chart] };
  vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true, config, logLevel: 1 });
}
