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

// Sample decodes: those that hold what was typed, right by one system, wrong by another; of one
// group; or those first about which systems differ most.
function setUpFilter() {
  const field = document.getElementById("filter");
  if (!field) return;
  field.parentElement.hidden = false;
  const decodes = [...document.querySelectorAll(".decode")];
  const groups = [...document.querySelectorAll(".decodes")];
  const right = document.getElementById("filter-right");
  const wrong = document.getElementById("filter-wrong");
  const group = document.getElementById("filter-group");
  const order = document.getElementById("filter-order");
  const errors = (decode, select) => decode.dataset.errors.split(" ")[select.value];
  const isWanted = (decode) =>
    decode.dataset.searched.includes(field.value.trim().toLowerCase()) &&
    (!right?.value || errors(decode, right) === "0") &&
    (!wrong?.value || errors(decode, wrong) !== "0") &&
    (!group?.value || decode.closest(".decodes").dataset.group === group.value);
  const show = (wanted, isFiltered) => {
    for (const decode of decodes) decode.hidden = !wanted.includes(decode);
    for (const more of document.querySelectorAll(".more")) more.open = isFiltered;
    for (const group of groups) group.hidden = !group.querySelector(".decode:not([hidden])");
    const count = document.getElementById("filter-count");
    count.value = isFiltered ? `${wanted.length} of ${decodes.length}` : "";
  };
  const filter = () =>
    show(
      decodes.filter(isWanted),
      Boolean(field.value.trim() || right?.value || wrong?.value || group?.value),
    );
  field.addEventListener("input", filter);
  for (const select of [right, wrong, group]) select?.addEventListener("change", filter);
  // The places stay as many above the fold and below it; Array.sort keeps the order of equals.
  order?.addEventListener("change", () => {
    const [place] = groups;
    const more = place.querySelector(".more");
    const numOpen = place.querySelectorAll(":scope > .decode").length;
    const sorted = [...decodes];
    if (order.value) sorted.sort((a, b) => b.dataset[order.value] - a.dataset[order.value]);
    sorted.forEach((decode, index) => {
      if (index < numOpen) place.insertBefore(decode, more);
      else more.append(decode);
    });
  });
  document.getElementById("filter-random").addEventListener("click", () => {
    const wanted = decodes.filter(isWanted);
    show(wanted.length ? [wanted[Math.floor(Math.random() * wanted.length)]] : [], true);
  });
}

// Audio samples: a line runs over spectrogram and letters while the recording plays.
function setUpPlayheads() {
  for (const sample of document.querySelectorAll(".sample")) {
    const audio = sample.querySelector("audio");
    const head = sample.querySelector(".playhead");
    const move = () => {
      const x = audio.duration ? (100 * audio.currentTime) / audio.duration : 0;
      head.style.left = `${x}%`;
      head.hidden = audio.currentTime === 0;
      if (!audio.paused) requestAnimationFrame(move);
    };
    for (const event of ["play", "seeked", "pause", "ended"]) audio.addEventListener(event, move);
  }
}

// Transcript progress: the slider copies, of each table column, the last cell up to the epoch.
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

// What is wider than its place can be scrolled from the keyboard; what fits is no stop on the way.
function setUpScrolling() {
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const place of document.querySelectorAll(".scroll:not([tabindex])")) observer.observe(place);
}

// What is folded away on the screen is part of the printed page.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

setUpFilter();
setUpPlayheads();
setUpStage();
drawCharts();
setUpCurves();
setUpScrolling();
