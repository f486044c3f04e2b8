"""Where MLflow shows a study's runs."""

import re
import shlex

LOCAL_SERVER = "http://127.0.0.1:5000"
"""Of `serve_command`."""


def is_served(tracking_uri: str) -> bool:
    """Whether a browser can open the tracking store as it is."""
    return tracking_uri.startswith(("http://", "https://"))


def serve_command(tracking_uri: str) -> str:
    """The command that serves a store that is no server."""
    return f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(tracking_uri)}"


def run_page(server: str, run_id: str) -> str:
    """The address of a run's page, which MLflow finds without its experiment; without the user that
    `server` may name, who is asked for by the browser."""
    base = re.sub(r"(?<=://)[^/@]*@", "", server).partition("#")[0].rstrip("/")
    return f"{base}/#/runs/{run_id}"
