package jupyterserver.admission

# METADATA
# title: Volume sizes are bounded
# description: Applies to each claim of the server and to its ephemeral files. An empty bound allows any size.
# custom:
#   id: storage-bounds
#   severity: deny
#   remediation: Lower spec.storage.size.
verdicts contains measured(rego.metadata.rule(), volume.path, message, quantity(volume.size) - quantity(bound)) if {
	bound := settings["storage-bounds"].maxSize
	bound != ""
	some volume in sized_volumes
	quantity(volume.size) > quantity(bound)
	message := sprintf("the size of %s is %s; the maximum is %s", [volume.what, volume.size, bound])
}

# METADATA
# title: Volume sizes are quantities
# description: A size that is missing or not a quantity cannot be compared with a bound.
# custom:
#   id: storage-bounds
#   severity: deny
#   remediation: Set a size above zero, such as 10Gi.
verdicts contains verdict(rego.metadata.rule(), volume.path, message) if {
	settings["storage-bounds"].maxSize != ""
	some volume in sized_volumes
	not is_quantity(volume.size, "size")
	message := sprintf("the size of %s is %q; use a quantity such as 10Gi", [volume.what, volume.size])
}

# METADATA
# title: Storage classes are allowed
# description: The entry "" allows claims without a class, which get the cluster's default. An empty list allows any class.
# custom:
#   id: storage-bounds
#   severity: deny
#   remediation: Set spec.storage.storageClassName to an allowed class.
verdicts contains verdict(rego.metadata.rule(), claim.path_of_class, message) if {
	allowed := settings["storage-bounds"].classes
	count(allowed) > 0
	some claim in claims
	not claim.class in allowed
	message := sprintf("the storage class of %s is %q; allowed: %s", [claim.what, claim.class, listed(allowed)])
}

sized_volumes contains {"what": claim.what, "path": claim.path_of_size, "size": claim.size} if some claim in claims

sized_volumes contains {"what": sprintf("volume %s", [volume.name]), "path": path, "size": size} if {
	some volume in volumes
	volume.spec.emptyDir
	volume_is_bounded(volume)
	size := text_of(object.get(volume.spec, ["emptyDir", "sizeLimit"], ""))
	path := path_of_files(volume, size)
}

# The server's files must have a limit; other emptyDir volumes are often small and have none.
volume_is_bounded(volume) if volume.name == "files"

volume_is_bounded(volume) if {
	volume.name != "files"
	not startswith(volume.name, "access-")
	volume.spec.emptyDir.sizeLimit
}

path_of_files(volume, size) := "spec.storage.size" if {
	volume.name == "files"
	size == server.spec.storage.size
} else := sprintf("%s.emptyDir.sizeLimit", [volume.path])

claims contains claim(title(obj), sprintf("%s: spec", [title(obj)]), obj.spec) if {
	some obj in input.objects
	obj.kind == "PersistentVolumeClaim"
}

claims contains claim(sprintf("claim %s", [template.metadata.name]), path, template.spec) if {
	some obj in input.objects
	some i, template in obj.spec.volumeClaimTemplates
	path := sprintf("%s: spec.volumeClaimTemplates[%d].spec", [title(obj), i])
}

claims contains claim(sprintf("volume %s", [volume.name]), path, volume.spec.ephemeral.volumeClaimTemplate.spec) if {
	some volume in volumes
	path := sprintf("%s.ephemeral.volumeClaimTemplate.spec", [volume.path])
}

claim(what, path, spec) := {
	"what": what,
	"size": size,
	"class": class,
	"path_of_size": storage_field("size", size, sprintf("%s.resources.requests.storage", [path])),
	"path_of_class": storage_field("storageClassName", class, sprintf("%s.storageClassName", [path])),
} if {
	size := text_of(object.get(spec, ["resources", "requests", "storage"], ""))
	class := object.get(spec, "storageClassName", "")
}

storage_field(field, value, _) := sprintf("spec.storage.%s", [field]) if object.get(server.spec.storage, field, "") == value

storage_field(field, value, rendered) := rendered if object.get(server.spec.storage, field, "") != value

text_of(value) := sprintf("%v", [value])
