package jupyterserver.admission

# METADATA
# title: Images come from allowed registries
# description: An entry is a registry, or a repository, or the beginning of one up to a slash. An empty list allows any.
# custom:
#   id: image-registries
#   severity: deny
#   remediation: Use an image of an allowed registry, or ask the admin to allow this one.
verdicts contains verdict(rego.metadata.rule(), image.path, message) if {
	count(settings["image-registries"].allowed) > 0
	some image in images
	found := repository(image.name)
	not allowed_repository(found)
	message := sprintf(
		"the image %s is of the repository %s, but allowed are: %s",
		[image.name, found, listed(settings["image-registries"].allowed)],
	)
}

# METADATA
# title: Images have a digest
# description: A digest names one content for ever; a tag may be moved.
# custom:
#   id: image-tags
#   severity: deny
#   remediation: Name the image with its digest, such as quay.io/jupyter/minimal-notebook@sha256:...
verdicts contains verdict(rego.metadata.rule(), image.path, message) if {
	settings["image-tags"].requireDigest
	some image in images
	not contains(image.name, "@sha256:")
	message := sprintf("the image %s has no digest (@sha256:...), which is required", [image.name])
}

# METADATA
# title: Images have no forbidden tag
# description: Without a tag and a digest, the tag is latest.
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
	message := sprintf("the image %s has the tag %s, but these tags are forbidden: %s", [image.name, found, listed(forbidden)])
}

# Everything that a node fetches as an image: of containers, and of volumes.
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
	within(found, trim_suffix(entry, "/"))
}

within(found, entry) if found == entry

within(found, entry) if startswith(found, concat("", [entry, "/"]))

# The name without tag and digest, with what container runtimes add to a short one.
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
