"""The HTML form for uploads on a listing, and its script, which shows progress.

Owns both texts. The form also works without the script.
"""

__all__ = ["UPLOAD_SCRIPT", "upload_form"]

_FORM = """<form method="post" action="./" enctype="multipart/form-data"%s>
<label>Files to upload, or drop them here: <input type="file" name="file" multiple required></label>
<button>Upload</button>
<progress hidden></progress>
<output></output>
</form>
"""


def upload_form(*, overwrite: bool, guarded: bool = False, limit: int | None = None) -> str:
    """The form.

    Args:
        overwrite: files may be replaced, so the script does not look for files with these names.
        guarded: uploads need a password; the script has the browser ask for it before it sends the files.
        limit: bytes of one request; the script does not send more.
    """
    attributes = ' data-overwrite="yes"' if overwrite else ""
    attributes += ' data-guarded="yes"' if guarded else ""
    attributes += "" if limit is None else f' data-limit="{limit}"'
    return _FORM % attributes


# A response that is sent while the browser is still sending may be lost when the connection closes. So the script
# checks what it can before it sends. It uses absolute URLs, since fetch() refuses a base URL with a password in it.
UPLOAD_SCRIPT = r"""
const form = document.querySelector("form"), input = form.elements.file, state = form.querySelector("output");
const bar = form.querySelector("progress"), button = form.querySelector("button");
const folder = location.origin + location.pathname;

function tell(text) {
  bar.hidden = true;
  button.disabled = false;
  state.textContent = text;
}

function reason(request) {
  const page = new DOMParser().parseFromString(request.responseText.replace(/<style>[^]*<\/style>/, ""), "text/html");
  const lines = page.querySelectorAll("p");
  const text = lines.length ? lines[lines.length - 1].textContent : request.statusText;
  return text.replace(/^Error code explanation: [0-9]+ - /, "");
}

async function refusal(files) {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (form.dataset.limit && size > form.dataset.limit) return "Larger than " + form.dataset.limit + " bytes.";
  if (form.dataset.guarded && (await fetch(folder, {method: "POST"})).status === 401) return "A password is needed.";
  if (form.dataset.overwrite) return "";
  const listing = await (await fetch(folder, {headers: {Accept: "application/json"}})).json();
  const names = new Set(listing.entries.map(entry => entry.name));
  const taken = files.find(file => names.has(file.name));
  if (taken) return "“" + taken.name + "” is there already.";
  return "";
}

function send() {
  const request = new XMLHttpRequest();
  request.upload.onprogress = event => {
    if (!event.lengthComputable) return;
    bar.max = event.total;
    bar.value = event.loaded;
    state.textContent = Math.floor(100 * event.loaded / event.total) + " %";
  };
  request.onload = () => {
    if (request.status >= 300) return tell(reason(request));
    form.reset();
    location.reload();
  };
  request.onerror = () => tell("The connection was cut; nothing is saved of the file that was under way.");
  request.open("POST", folder);
  request.setRequestHeader("Accept", "application/json");
  bar.hidden = false;
  bar.removeAttribute("value");
  request.send(new FormData(form));
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  try {
    const text = await refusal([...input.files]);
    if (text) tell(text); else send();
  } catch {
    tell("The server cannot be reached.");
  }
});

document.addEventListener("dragover", event => { event.preventDefault(); form.classList.add("over"); });
document.addEventListener("dragleave", () => form.classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  form.classList.remove("over");
  if (button.disabled || !event.dataTransfer.files.length) return;
  input.files = event.dataTransfer.files;
  form.requestSubmit();
});
"""
