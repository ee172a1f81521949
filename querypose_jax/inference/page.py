"""The page of serving.py: path -> type and content. Nothing on it is loaded from elsewhere."""

HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>querypose_jax</title>
<link rel="stylesheet" href="/page.css">
<link rel="icon" href="data:,">
<h1>Who is on this picture?</h1>
<div id="drop" tabindex="0" role="button">Drop a picture here, or click to choose one
  <input id="file" type="file" accept="image/*" hidden></div>
<p>
  <label>Threshold <input id="threshold" type="range" min="0" max="1" step="0.01" value="0.3">
    <output id="value">0.30</output></label>
  <label>View <select id="view"><option>poses</option></select></label>
  <button id="camera">Camera</button>
  <button id="shot" hidden>Take the picture</button>
  <a id="json" download="people.json" hidden>JSON</a>
</p>
<p id="said" role="status">&nbsp;</p>
<video id="live" autoplay playsinline muted hidden></video>
<img id="found" alt="The picture with its people" hidden>
<script src="/page.js"></script>
</html>
"""

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1c22; }
#drop { border: 2px dashed #8a93a6; border-radius: 8px; padding: 2.5rem; text-align: center; cursor: pointer; }
#drop.over { background: #e8eefc; }
#said.error { color: #b3261e; }
img, video { max-width: 100%; }
label, button { margin-right: 1rem; }
"""

JS = """
"use strict";
const $ = (id) => document.getElementById(id);
let picture = null, asked = 0, largest = Infinity;

async function predict() {
  if (!picture) return;
  const turn = ++asked;
  if (picture.size > largest) return say("choose a picture of at most " + largest / 2 ** 20 + " MiB", true);
  say("looking ...");
  const query = new URLSearchParams({threshold: $("threshold").value, view: $("view").value});
  let answer, found;
  try {
    answer = await fetch("/predict?" + query,
      {method: "POST", body: picture, headers: {"Content-Type": "application/octet-stream"}});
    found = await answer.json();
  } catch (error) {
    return say("the server does not answer", true);
  }
  if (turn !== asked) return;
  if (!answer.ok) return say(found.error, true);
  $("found").src = found.picture;
  $("found").hidden = false;
  URL.revokeObjectURL($("json").href);
  $("json").href = URL.createObjectURL(new Blob([JSON.stringify(found.people)], {type: "application/json"}));
  $("json").hidden = false;
  const count = found.people.length;
  say(count === 1 ? "1 person" : count + " people");
}

function say(text, isError = false) {
  $("said").textContent = text;
  $("said").className = isError ? "error" : "";
}

function take(file) {
  picture = file;
  predict();
}

$("drop").onclick = () => $("file").click();
$("drop").onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") $("file").click(); };
$("file").onclick = (event) => event.stopPropagation();
$("file").onchange = () => { if ($("file").files.length) take($("file").files[0]); };
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").className = "over"; };
$("drop").ondragleave = () => { $("drop").className = ""; };
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").className = "";
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
};
$("threshold").oninput = () => { $("value").value = Number($("threshold").value).toFixed(2); };
$("threshold").onchange = predict;
$("view").onchange = predict;

$("camera").onclick = async () => {
  try {
    $("live").srcObject = await navigator.mediaDevices.getUserMedia({video: true});
    $("live").hidden = $("shot").hidden = false;
  } catch (error) {
    say("the camera cannot be used: " + error.message, true);
  }
};
$("shot").onclick = () => {
  const canvas = document.createElement("canvas");
  canvas.width = $("live").videoWidth;
  canvas.height = $("live").videoHeight;
  canvas.getContext("2d").drawImage($("live"), 0, 0);
  canvas.toBlob(take, "image/jpeg", 0.95);
};

fetch("/about").then((answer) => answer.json()).then((about) => {
  largest = about.largest;
  for (const view of about.views) $("view").add(new Option(view));
});
"""

FILES = {
    "/": ("text/html; charset=utf-8", HTML),
    "/page.css": ("text/css; charset=utf-8", CSS),
    "/page.js": ("text/javascript; charset=utf-8", JS),
}
