package jupyterserver.admission_test

import data.jupyterserver.admission

test_image_registries[image] if {
	some image, want in {
		"quay.io/jupyter/minimal-notebook": set(),
		"quay.io/jupyter/minimal-notebook:1@sha256:00": set(),
		"quay.io/jupyter": set(),
		"ghcr.io/any/thing": set(),
		"quay.io/jupyter-other/x": {concat("", [where, ".containers[0].image"])},
		"jupyter/x": {concat("", [where, ".containers[0].image"])},
	}
	changes := [add(sprintf("%s/image", [container_path]), image), set("image-registries", {"allowed": ["quay.io/jupyter", "ghcr.io/"]})]
	paths("image-registries", token_server, changes) == want
}

test_image_registries_of_sidecar_and_volume if {
	changes := [
		add("/object/spec/pod", {"initContainers": [{"name": "first", "image": "x"}, {"name": "second", "image": "y"}]}),
		add(sprintf("%s/initContainers", [pod_path]), [{"name": "second", "image": "y"}]),
		add(sprintf("%s/volumes/-", [pod_path]), {"name": "data", "image": {"reference": "z"}}),
		set("image-registries", {"allowed": ["quay.io"]}),
	]
	paths("image-registries", token_server, changes) == {
		"spec.pod.initContainers[1].image",
		concat("", [where, ".volumes[1].image.reference"]),
	}
}

test_image_tags[image] if {
	some image, want in {
		"quay.io/jupyter/minimal-notebook:latest": {"spec.jupyterServer.image"},
		"localhost:5000/x": {concat("", [where, ".containers[0].image"])},
		"quay.io/jupyter/minimal-notebook:1": set(),
		"quay.io/jupyter/minimal-notebook@sha256:00": set(),
	}
	changes := [add(sprintf("%s/image", [container_path]), image), set("image-tags", {"forbidden": ["latest"]})]
	paths("image-tags", token_server, changes) == want
}

test_image_digests if {
	paths("image-tags", token_server, [set("image-tags", {"requireDigest": true})]) == {"spec.jupyterServer.image"}
	paths("image-tags", token_server, [
		add(sprintf("%s/image", [container_path]), "x@sha256:00"),
		set("image-tags", {"requireDigest": true}),
	]) == set()
}

test_repository[image] if {
	some image, want in {
		"python": "docker.io/library/python",
		"python:3": "docker.io/library/python",
		"jupyter/x": "docker.io/jupyter/x",
		"index.docker.io/jupyter/x": "docker.io/jupyter/x",
		"index.docker.io/python": "docker.io/library/python",
		"localhost/x": "localhost/x",
		"localhost:5000/x:1": "localhost:5000/x",
		"quay.io/a/b:1@sha256:00": "quay.io/a/b",
	}
	admission.repository(image) == want
}
