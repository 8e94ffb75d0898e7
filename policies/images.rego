package jupyterserver.admission

# METADATA
# title: Images are from allowed registries
# description: An entry is a registry, a repository, or a prefix of one up to a slash. An empty list allows any image.
# custom:
#   id: image-registries
#   severity: deny
#   remediation: Use an image from an allowed registry, or ask your administrator to allow this one.
verdicts contains verdict(rego.metadata.rule(), image.path, message) if {
	count(settings["image-registries"].allowed) > 0
	some image in images
	found := repository(image.name)
	not allowed_repository(found)
	message := sprintf(
		"image %s is from repository %s; allowed: %s",
		[image.name, found, listed(settings["image-registries"].allowed)],
	)
}

# METADATA
# title: Images have a digest
# description: A digest identifies immutable content; a tag can be moved.
# custom:
#   id: image-tags
#   severity: deny
#   remediation: Reference the image by digest, such as quay.io/jupyter/minimal-notebook@sha256:...
verdicts contains verdict(rego.metadata.rule(), image.path, message) if {
	settings["image-tags"].requireDigest
	some image in images
	not contains(image.name, "@sha256:")
	message := sprintf("image %s has no digest (@sha256:...)", [image.name])
}

# METADATA
# title: Images do not have a forbidden tag
# description: Without a tag or a digest, the tag is latest.
# custom:
#   id: image-tags
#   severity: deny
#   remediation: Use another tag of the image, or its digest.
verdicts contains verdict(rego.metadata.rule(), image.path, message) if {
	forbidden := settings["image-tags"].forbidden
	count(forbidden) > 0
	some image in images
	not contains(image.name, "@")
	found := tag(image.name)
	found in forbidden
	message := sprintf("image %s has tag %s; forbidden: %s", [image.name, found, listed(forbidden)])
}

# All images that a node pulls, for containers and volumes.
images contains {"name": container.spec.image, "path": written(container, "image")} if {
	some container in containers
	not container.ours
	container.spec.image
}

images contains {"name": volume.spec.image.reference, "path": sprintf("%s.image.reference", [volume.path])} if {
	some volume in volumes
	volume.spec.image.reference
}

allowed_repository(found) if {
	some entry in settings["image-registries"].allowed
	in_repository(found, trim_suffix(entry, "/"))
}

in_repository(found, entry) if found == entry

in_repository(found, entry) if startswith(found, concat("", [entry, "/"]))

# The full name without tag and digest. Container runtimes complete short names in the same way.
repository(image) := name if {
	name := without_tag(image)
	has_registry(name)
} else := concat("/", ["docker.io", name]) if {
	name := trim_prefix(without_tag(image), "index.docker.io/")
	contains(name, "/")
} else := concat("/", ["docker.io/library", trim_prefix(without_tag(image), "index.docker.io/")])

has_registry(name) if {
	regex.match(`^([^/]*[.:][^/]*|localhost)/`, name)
	not startswith(name, "index.docker.io/")
}

without_tag(image) := regex.replace(image, `(:[^/:@]*)?(@.*)?$`, "")

tag(image) := trim_prefix(regex.find_n(`:[^/:]*$`, image, 1)[0], ":")

tag(image) := "latest" if not regex.match(`:[^/:]*$`, image)
