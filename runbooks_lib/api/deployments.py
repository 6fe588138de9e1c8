"""Ask Kubernetes whether a service is deployed.

Needs the official `kubernetes` client, an extra that is imported only when a kubeconfig is at hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.facts.contents import Deployment
from runbooks_lib.package import how_to_add

TIMEOUT_S = (5.0, 10.0)  # to connect, to read


def deployment_state(namespace: str, name: str, kubeconfig: Path | None = None) -> Deployment | None:
    """Read one Deployment by the kubeconfig given, else by $KUBECONFIG; None when there is neither.

    Reads one object of the Kubernetes API; writes nothing.

    Raises PreconditionFailed when the extra is not installed or the kubeconfig cannot be read,
    ConnectionFailed when the API refuses, fails or cannot be reached.
    Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/
    """
    config_file = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    if not config_file:
        return None
    kubernetes = _kubernetes()
    from urllib3.exceptions import HTTPError

    api_client = _api_client(kubernetes, config_file)
    what = f"Deployment {namespace}/{name}"
    try:
        found = kubernetes.client.AppsV1Api(api_client).read_namespaced_deployment(
            name, namespace, _request_timeout=TIMEOUT_S
        )
    except kubernetes.client.ApiException as error:
        if error.status == 404 and _is_not_found(error.body):
            return Deployment(namespace=namespace, name=name, exists=False)
        raise _refused(what, error.status) from error
    except (HTTPError, OSError) as error:
        raise ConnectionFailed(
            f"{what} could not be read: the Kubernetes API did not answer ({type(error).__name__}).",
            "Check that the cluster of the kubeconfig's current context can be reached from here.",
        ) from error
    finally:
        api_client.close()
    return _from_api(namespace, name, found)


def _kubernetes() -> Any:
    try:
        import kubernetes
    except ImportError as error:
        raise PreconditionFailed(
            "A kubeconfig is at hand, but the Kubernetes client is not installed.",
            f"{how_to_add('kubernetes')} Or unset KUBECONFIG not to ask the cluster.",
        ) from error
    return kubernetes


def _api_client(kubernetes: Any, config_file: str) -> Any:
    # The client's own message for a file it cannot parse quotes the file, where tokens stand:
    # only the kind of error goes on, and the chain is cut.
    configuration = kubernetes.client.Configuration()
    configuration.retries = False
    try:
        kubernetes.config.load_kube_config(config_file, client_configuration=configuration)
    except Exception as error:  # noqa: BLE001 - ConfigException, yaml's errors, KeyError, OSError, binascii's
        reason = type(error).__name__
    else:
        return kubernetes.client.ApiClient(configuration)
    raise PreconditionFailed(
        f"The kubeconfig {config_file} cannot be used ({reason}).",
        "Check it with: kubectl --kubeconfig FILE config view; or unset KUBECONFIG not to ask the cluster.",
    )


def _is_not_found(body: str | bytes | None) -> bool:
    """Whether a 404 is Kubernetes' own word on the object, and not some other server's."""
    try:
        status = json.loads(body or "")
    except ValueError:
        return False
    return isinstance(status, dict) and status.get("kind") == "Status" and status.get("reason") == "NotFound"


def _refused(what: str, status: int) -> ConnectionFailed:
    happened = f"{what} could not be read: the Kubernetes API answered HTTP {status}."
    if status == 401:
        return ConnectionFailed(happened, "Log in again: the kubeconfig's credentials are not accepted.")
    if status == 403:
        return ConnectionFailed(happened, "Ask for the right to `get` deployments in that namespace.")
    if status == 404:
        return ConnectionFailed(happened, "Check the kubeconfig's server: what answers is not Kubernetes.")
    return ConnectionFailed(happened, "Try again; when it stays so, look at the API server.")


def _from_api(namespace: str, name: str, found: Any) -> Deployment:
    status, spec = found.status, found.spec
    conditions = (status.conditions if status else None) or ()
    available = next((c.status == "True" for c in conditions if c.type == "Available"), None)
    return Deployment(
        namespace=namespace,
        name=name,
        exists=True,
        replicas=spec.replicas or 0,
        ready=(status.ready_replicas if status else None) or 0,
        image=_images(c.image for c in spec.template.spec.containers),
        available=available,
    )


def _images(images: Iterable[str | None]) -> str | None:
    return ", ".join(_without_credentials(image) for image in images if image) or None


def _without_credentials(image: str) -> str:
    """Drop `user:password@` before the registry; a digest's @ stands behind the last slash."""
    registry, slash, rest = image.rpartition("/")
    return registry.rsplit("@", 1)[-1] + slash + rest
