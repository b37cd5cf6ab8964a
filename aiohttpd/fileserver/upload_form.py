"""The form for uploads on a listing, and the script that shows how far one has come.

Owns both texts. Without the script the form works, too.
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
        overwrite: the script does not ask whether a name is taken.
        guarded: it asks for the password before it sends anything large.
        limit: bytes of one request.
    """
    attributes = ' data-overwrite="yes"' if overwrite else ""
    attributes += ' data-guarded="yes"' if guarded else ""
    attributes += "" if limit is None else f' data-limit="{limit}"'
    return _FORM % attributes


# An answer that comes while much is still being sent may be lost with the connection, so what can be known
# is asked before. The paths are written out, since a base with a password in it is none for fetch.
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
