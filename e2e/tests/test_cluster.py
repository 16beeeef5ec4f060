"""What the other tests take for granted of a cluster: names, Services across nodes, and volumes that keep what was written."""

from __future__ import annotations

import json

from e2e.tests.kube import Kube
from e2e.tests.test_image import container, ended, pod

SERVE = ["python", "-m", "http.server", "8000", "--directory", "/opt/arbkube"]
LIVELY = {"httpGet": {"port": 8000}, "periodSeconds": 1}


def test_a_pod_reaches_a_service_on_another_node_by_its_name(kube: Kube, namespace: str, image: str) -> None:
    nodes = kube("get", "nodes", "--output", "jsonpath={.items[*].metadata.name}").split()
    somewhere = {"tolerations": [{"operator": "Exists"}]}
    serving = pod("web", container(image, "web", command=SERVE, readinessProbe=LIVELY), nodeName=nodes[0], **somewhere)
    kube("apply", "--namespace", namespace, "--filename", "-", stdin=serving)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    service["spec"] = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    kube("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(service))
    kube("wait", "pod/web", "--namespace", namespace, "--for=condition=Ready", "--timeout=60s")
    ask = "import urllib.request as r; print(r.urlopen('http://web/pyvenv.cfg', timeout=10).status)"
    # A Service that has just been made takes a moment to reach every node; a pod that asks too early asks again.
    asking = pod(
        "ask",
        container(image, "ask", command=["python", "-c", ask]),
        nodeName=nodes[-1],
        restartPolicy="OnFailure",
        **somewhere,
    )
    kube("apply", "--namespace", namespace, "--filename", "-", stdin=asking)
    ended(kube, namespace, "ask")
    assert kube("logs", "ask", "--namespace", namespace).strip() == "200"
    kube("delete", "pod/web", "--namespace", namespace, "--now")


def test_a_volume_keeps_what_one_pod_wrote_for_the_next(kube: Kube, namespace: str, image: str) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"}}
    claim["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    kube("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(claim))
    volumes = [{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]
    for name, code in (("writes", "open('/kept/a', 'w').write('kept')"), ("reads", "print(open('/kept/a').read())")):
        mounted = container(image, name, command=["python", "-c", code], volumeMounts=[{"name": "kept", "mountPath": "/kept"}])
        shape = pod(name, mounted, volumes=volumes, securityContext={"fsGroup": 65532})
        kube("apply", "--namespace", namespace, "--filename", "-", stdin=shape)
        ended(kube, namespace, name)
    assert kube("logs", "reads", "--namespace", namespace).strip() == "kept"
