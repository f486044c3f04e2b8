"use strict";

// Charts: figures lie beside their places as JSON; the theme is the reader's.
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour("--rule"),
    linecolor: colour("--rule"),
    zerolinecolor: colour("--rule"),
    automargin: true,
    title: { standoff: 8 },
  };
  return {
    layout: {
      font: { family: style.fontFamily, size: 12, color: colour("--muted") },
      hoverlabel: {
        bgcolor: colour("--paper"),
        bordercolor: colour("--rule"),
        font: { color: colour("--ink"), family: style.fontFamily },
        align: "left",
        namelength: -1,
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--link") },
      xaxis: axis,
      yaxis: axis,
    },
  };
}

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};

function drawCharts() {
  for (const source of document.querySelectorAll("script[data-chart]")) {
    const figure = JSON.parse(source.textContent);
    figure.layout.template = theme();
    const place = document.getElementById(source.dataset.chart);
    Plotly.newPlot(place, figure.data, figure.layout, CONFIG);
  }
}

DARK.addEventListener("change", () => {
  for (const place of document.querySelectorAll(".chart")) {
    Plotly.relayout(place, { template: theme() });
  }
});

// Sample decodes: show those that hold what was typed.
function setUpFilter() {
  const field = document.getElementById("filter");
  if (!field) return;
  field.parentElement.hidden = false;
  const decodes = [...document.querySelectorAll(".decode")];
  const groups = [...document.querySelectorAll(".decodes")];
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const decode of decodes) decode.hidden = !decode.dataset.searched.includes(wanted);
    for (const group of groups) group.hidden = !group.querySelector(".decode:not([hidden])");
    const shown = decodes.filter((decode) => !decode.hidden).length;
    document.getElementById("filter-count").value = wanted && `${shown} of ${decodes.length}`;
  });
}

// Learning to hear: the slider copies, of each table column, the last cell up to the epoch.
function setUpStage() {
  const stage = document.getElementById("stage");
  if (!stage) return;
  stage.hidden = false;
  const epochs = stage.dataset.epochs.split(" ").map(Number);
  const slider = document.getElementById("epoch");
  const places = [...stage.querySelectorAll("[data-shows]")].map((place) => ({
    place,
    cells: [...document.querySelectorAll(`[data-heard="${place.dataset.shows}"]`)],
  }));
  const show = () => {
    const epoch = epochs[slider.value];
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    document.getElementById("epoch-shown").value = `${epoch} of ${epochs[epochs.length - 1]}`;
    for (const { place, cells } of places) {
      const cell = cells.filter((candidate) => candidate.dataset.epoch <= epoch).pop();
      place.replaceChildren(...(cell ? cell.cloneNode(true).childNodes : []));
      if (cell && Number(cell.dataset.epoch) < epoch) {
        const stopped = document.createElement("small");
        stopped.textContent = ` epoch ${cell.dataset.epoch}`;
        place.append(stopped);
      }
    }
  };
  slider.addEventListener("input", show);
  show();
}

// Learning curves: what they are drawn against, and whether the trials of the search are shown.
function setUpCurves() {
  const tool = document.getElementById("curves-tool");
  if (!tool) return;
  tool.hidden = false;
  const axis = document.getElementById("curves-axis");
  const trials = document.getElementById("curves-trials");
  const places = [...document.querySelectorAll(".curves .chart")];
  const begun = places.map((place) => place.data.map((trace) => trace.x));
  const show = () => {
    places.forEach((place, index) => {
      const traces = place.data;
      const x = traces.map((trace, t) => trace.meta[axis.value] ?? begun[index][t]);
      const visible = traces.map((trace) => !trace.meta.is_trials || trials.checked);
      const layout = {
        "xaxis.title.text": axis.selectedOptions[0].textContent,
        "xaxis.autorange": true,
        "yaxis.autorange": true,
      };
      Plotly.update(place, { x, visible }, layout);
    });
  };
  tool.addEventListener("change", show);
}

// What is folded away on the screen is part of the printed page.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

setUpFilter();
setUpStage();
drawCharts();
setUpCurves();
