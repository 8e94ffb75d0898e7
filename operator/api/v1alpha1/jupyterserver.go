// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The rules for metadata.name: a StatefulSet with a name longer than 52 characters never starts its pods, because the revision
// label that its controller adds exceeds 63 characters (kubernetes/kubernetes#64023); a Service name is a DNS label (RFC 1035).

// JupyterServer is a Jupyter server with a URL, access control and persistent files.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=jupyterservers,shortName=js,categories=jupyter
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Image",type=string,priority=1,JSONPath=`.spec.jupyterServer.image`
// +kubebuilder:printcolumn:name="Policy",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="PolicyCompliant")].status`
// +kubebuilder:printcolumn:name="UpToDate",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="UpToDate")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 52",message="metadata.name must have at most 52 characters: the pods of a StatefulSet with a longer name never start. Choose a shorter name."
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must start with a letter and contain only lower-case letters, digits and '-', because a Service gets the same name."
type JupyterServer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the desired state of the server.
	// +required
	Spec JupyterServerSpec `json:"spec"`
	// Status is the state that the operator observed last.
	// +optional
	Status JupyterServerStatus `json:"status,omitempty"`
}

// JupyterServerList is a list of Jupyter servers.
//
// +kubebuilder:object:root=true
type JupyterServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterServer `json:"items"`
}

// JupyterServerSpec is the desired state of a server. Its keys are the values of the chart.
//
// +kubebuilder:validation:XValidation:rule="self.auth.mode != 'oidc' || !has(self.jupyterServer.extraArgs) || self.jupyterServer.extraArgs.all(a, !a.matches('^--?([A-Za-z_][A-Za-z0-9_]*[.])*(allow_remote_access|local_hostnames|allow_origin|allow_origin_pat|allow_credentials|trust_xheaders|custom_display_url|gateway_url|gateway-url)(=|$)'))",fieldPath=".jupyterServer.extraArgs",message="must not set which origins and proxies Jupyter trusts (allow_origin, local_hostnames, trust_xheaders, ...) while auth.mode is oidc: the operator sets these. Remove the argument."
type JupyterServerSpec struct {
	// Suspend stops the pod and keeps the volume, the URL and the token. Set it to false to start the server again.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend"`

	// JupyterServer selects the image and how Jupyter is started in it.
	// +kubebuilder:default={}
	// +optional
	JupyterServer JupyterProcess `json:"jupyterServer"`

	// Storage selects where the files of the server are stored.
	// +kubebuilder:default={ephemeral: false, size: "1Gi", retain: false}
	// +optional
	Storage Storage `json:"storage"`

	// Routing sets the URL of the server.
	// +required
	Routing Routing `json:"routing"`

	// Auth controls who can use the server.
	// +kubebuilder:default={mode: "token"}
	// +optional
	Auth Auth `json:"auth"`

	// Scheduling restricts the nodes on which the pod may run.
	// +optional
	Scheduling *Scheduling `json:"scheduling,omitempty"`

	// Pod adds fields to the pod that the other sections do not cover.
	// +optional
	Pod *PodExtras `json:"pod,omitempty"`

	// Patches change the rendered objects, in order, as the last step. A patch that matches nothing is an error.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Patches []Patch `json:"patches,omitempty"`

	// Release controls how changes of the spec are rolled out.
	// +optional
	Release *Release `json:"release,omitempty"`

	// unreadable is why the spec could not be decoded: see decoding.go.
	unreadable string `json:"-"`
}

// Release controls how changes of the spec are rolled out. No object is rendered from it.
type Release struct {
	// RollbackOnFailure rolls back to the last revision that ran if the pod of a new revision cannot start. The default is the
	// setting config.release.rollbackOnFailure of the operator.
	// +optional
	RollbackOnFailure *bool `json:"rollbackOnFailure,omitempty"`
}

// JupyterProcess selects what runs in the main container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.extraArgs) || self.extraArgs.all(a, !a.matches('^--?([A-Za-z_][A-Za-z0-9_]*[.])*(token|password|hashed_password|password_required|allow_unauthenticated_access|identity_provider_class|login_handler_class|authorizer_class|disable_check_xsrf|ip|port|port_retries|port-retries|sock|base_url|root_dir|notebook_dir|notebook-dir|default_url|config|config_file|config_file_name|config_file_paths)(=|$)'))",fieldPath=".extraArgs",message="must not set what other fields of the spec control (token, password, ip, port, base_url, root_dir, default_url, ...). Use spec.auth, spec.routing, rootDir and defaultUrl instead."
type JupyterProcess struct {
	// Image is the container image with Jupyter: `jupyter server` must be on its PATH.
	// +kubebuilder:default="quay.io/jupyter/minimal-notebook:latest"
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$')",message="must be an image reference such as quay.io/jupyter/minimal-notebook:latest"
	// +optional
	Image string `json:"image"`

	// ImagePullPolicy controls when the node pulls the image. The default of Kubernetes is Always for the tag latest, and
	// IfNotPresent otherwise.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSecrets are Secrets in the namespace with credentials for private registries.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// DefaultURL is the page that the server's URL redirects to, below routing.path: /lab, /tree, or the page of an application.
	// +kubebuilder:default="/lab"
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[A-Za-z0-9._~/?=&%-]*$')",message="must be a path that starts with a slash, such as /lab"
	// +optional
	DefaultURL string `json:"defaultUrl"`

	// RootDir is the folder that Jupyter shows. The volume is mounted there, unless storage.mountPath is set.
	// +kubebuilder:default="/home/jovyan/work"
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[A-Za-z0-9._/@+-]*$') && !self.matches('(^|/)[.][.](/|$)')",message="must be an absolute path without '..', such as /home/jovyan/work"
	// +optional
	RootDir string `json:"rootDir"`

	// Resources are the CPU, memory and other resources of the Jupyter container.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// Env are environment variables of the Jupyter container. Put secrets into a Secret and use valueFrom.secretKeyRef.
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:XValidation:rule="self.all(e, e.name != 'JUPYTER_TOKEN')",message="must not set JUPYTER_TOKEN: use spec.auth.token instead"
	// +listType=map
	// +listMapKey=name
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`

	// EnvFrom adds all keys of ConfigMaps or Secrets as environment variables.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	EnvFrom []corev1.EnvFromSource `json:"envFrom,omitempty"`

	// ExtraArgs are additional arguments of `jupyter server`, such as --ServerApp.shutdown_no_activity_timeout=3600. Do not put
	// secrets here: everyone who can read the pod can read its arguments.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// Resources are requests and limits of the Jupyter container, as in a pod.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",message="every request must be at most its limit: lower spec.jupyterServer.resources.requests or raise the limit"
type Resources struct {
	// Requests is what the scheduler reserves.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Requests map[corev1.ResourceName]Quantity `json:"requests,omitempty"`
	// Limits is the most that the container may use. A container that exceeds its memory limit is killed.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Limits map[corev1.ResourceName]Quantity `json:"limits,omitempty"`
}

// Quantity is a Kubernetes quantity (500m, 2, 4Gi), preserved as written. In JSON it may also be a number, as in a pod.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('0')) >= 0",message="must be a non-negative quantity, such as 500m, 2 or 4Gi"
type Quantity string

// UnmarshalJSON accepts a string or a number.
func (q *Quantity) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(q))
	}
	*q = Quantity(raw)
	return nil
}

// Storage selects where the files of the server are stored.
//
// +kubebuilder:validation:XValidation:rule="!(self.ephemeral && has(self.existingClaim))",message="set either ephemeral or existingClaim, not both"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storageClassName cannot be changed after creation, because Kubernetes cannot move a volume. Create another server with the new class and copy the files."
// +kubebuilder:validation:XValidation:rule="quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",message="size can only grow, because Kubernetes cannot shrink a volume"
type Storage struct {
	// Ephemeral stores the files in the pod: they are deleted with it.
	// +kubebuilder:default=false
	// +optional
	Ephemeral bool `json:"ephemeral"`

	// Size is the size of the claim that the operator creates. Increasing it resizes the claim, if the storage class supports that.
	// +kubebuilder:default="1Gi"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && quantity(self).compareTo(quantity('0')) > 0",message="must be a quantity above zero, such as 10Gi"
	// +optional
	Size string `json:"size"`

	// StorageClassName is the storage class of the claim. The default is the cluster's default class.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`

	// MountPath is where the volume is mounted. The default is jupyterServer.rootDir.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[A-Za-z0-9._/@+-]+$') && !self.matches('(^|/)[.][.](/|$)')",message="must be an absolute path without '..', such as /home/jovyan"
	// +optional
	MountPath string `json:"mountPath,omitempty"`

	// ExistingClaim is a PersistentVolumeClaim in the namespace to use instead of a new one. It is never deleted.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ExistingClaim string `json:"existingClaim,omitempty"`

	// Retain keeps the claim when the JupyterServer is deleted. A new JupyterServer with the same name reuses the claim, and its
	// own setting then decides whether the claim is kept.
	// +kubebuilder:default=false
	// +optional
	Retain bool `json:"retain"`
}

// Routing sets the URL of a server.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.secretName) || self.tls.enabled",message="tls.secretName is set, but tls.enabled is not: set tls.enabled to true, or remove the name"
type Routing struct {
	// Host is the DNS name of the URL. Servers that share a host share a browser origin: use one host per person where they do
	// not trust each other.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$') && !self.matches('^[0-9.]+$')",message="must be a DNS name in lower case without scheme, port or path, such as jupyter.example.org"
	// +required
	Host string `json:"host"`

	// Path is the path of the URL. It is the prefix of every address of the server.
	// +kubebuilder:default="/"
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/|(/[A-Za-z0-9._~-]+)+)$') && !self.matches('/[.]{1,2}(/|$)')",message="must start with a slash and not end with one, such as /alice or /; letters, digits and . _ ~ - are allowed in between"
	// +optional
	Path string `json:"path"`

	// IngressClassName selects the ingress controller. The default is the operator's setting, then the cluster's default class.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	IngressClassName *string `json:"ingressClassName,omitempty"`

	// Annotations are added to the Ingress.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// TLS configures HTTPS.
	// +optional
	TLS *RoutingTLS `json:"tls,omitempty"`
}

// RoutingTLS configures HTTPS at the Ingress.
type RoutingTLS struct {
	// Enabled makes the URL an https URL. Without secretName the ingress controller uses its default certificate.
	// +kubebuilder:default=false
	// +optional
	Enabled bool `json:"enabled"`
	// SecretName is the Secret in the namespace with the certificate (kubernetes.io/tls).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretName string `json:"secretName,omitempty"`
}

// AuthMode is the kind of access control of a server.
//
// +kubebuilder:validation:Enum=token;oidc;none
type AuthMode string

const (
	// AuthModeToken admits everyone who has the token. Jupyter itself checks it.
	AuthModeToken AuthMode = "token"
	// AuthModeOIDC admits everyone who signs in at an OpenID provider and is allowed by the spec.
	AuthModeOIDC AuthMode = "oidc"
	// AuthModeNone admits everyone. The policies deny it by default.
	AuthModeNone AuthMode = "none"
)

// Auth controls who can use a server.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'oidc' || has(self.oidc)",message="mode is oidc, but oidc is not set: set oidc.issuerUrl, oidc.clientId and oidc.allow"
// +kubebuilder:validation:XValidation:rule="self.mode == 'oidc' || !has(self.oidc)",message="oidc is set, but mode is not oidc: set mode to oidc, or remove the section"
// +kubebuilder:validation:XValidation:rule="self.mode == 'token' || !has(self.token)",message="token is set, but mode is not token: set mode to token, or remove the section"
type Auth struct {
	// Mode is token (anyone with the token has access), oidc (users who sign in and are allowed have access) or none.
	// +kubebuilder:default=token
	// +optional
	Mode AuthMode `json:"mode"`
	// Token is the source of the token. By default one is generated once and kept in a Secret of the server.
	// +optional
	Token *SecretValue `json:"token,omitempty"`
	// OIDC sets the OpenID provider at which users sign in, and which of them have access.
	// +optional
	OIDC *OIDC `json:"oidc,omitempty"`
}

// SecretValue is a secret, given inline or by reference. The operator copies an inline value into a Secret of the server, but
// anyone who can read the JupyterServer can read it there, so prefer a reference.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.secretKeyRef)",message="set exactly one of value and secretKeyRef"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || self.value.matches('^[!-~]+$')",message="value must be printable ASCII without spaces"
type SecretValue struct {
	// Value is the secret itself.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Value string `json:"value,omitempty"`
	// SecretKeyRef names a key of a Secret in the namespace.
	// +optional
	SecretKeyRef *KeyRef `json:"secretKeyRef,omitempty"`
}

// KeyRef names a key of a Secret or ConfigMap in the server's namespace.
type KeyRef struct {
	// Name is the name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Key is the key in the object's data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Key string `json:"key"`
}

// OIDC sets the OpenID provider at which users sign in, and which of them have access.
//
// +kubebuilder:validation:XValidation:rule="!has(self.allow.emails) || self.allow.emails.size() == 0 || !has(self.scopes) || 'email' in self.scopes",fieldPath=".allow.emails",message="needs the scope email: add it to scopes, or name users instead"
type OIDC struct {
	// IssuerURL is the provider's issuer, as in its discovery document (OpenID Connect Discovery 1.0, section 3).
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([A-Za-z0-9._~-]+|[[][0-9A-Fa-f:.]+[]])(:[0-9]{1,5})?(/[A-Za-z0-9._~!&()*+,;=:@%-]*)*$')",message="must be a URL such as https://accounts.example.org, without user, query and fragment"
	// +required
	IssuerURL string `json:"issuerUrl"`
	// ClientID is the ID under which this server is registered at the provider.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$') && !self.contains('\\x22') && !self.contains('\\x5c')",message="must be printable ASCII without spaces, quotation marks and backslashes"
	// +required
	ClientID string `json:"clientId"`
	// ClientSecret is the client's secret. A public client has none; PKCE is used with both.
	// +optional
	ClientSecret *SecretValue `json:"clientSecret,omitempty"`
	// Scopes are the scopes requested from the provider.
	// +kubebuilder:default={openid,email,profile}
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="'openid' in self",message="must contain openid"
	// +kubebuilder:validation:XValidation:rule="self.all(s, s.matches('^[A-Za-z0-9._:/~+*@-]+$'))",message="must be scope names such as openid, email and groups"
	// +listType=atomic
	// +optional
	Scopes []string `json:"scopes,omitempty"`
	// CABundle refers to the PEM certificates that verify the provider's certificate.
	// +optional
	CABundle *CABundle `json:"caBundle,omitempty"`
	// Allow selects the users who have access after signing in.
	// +required
	Allow Allow `json:"allow"`
}

// CABundle is a set of PEM certificates.
type CABundle struct {
	// ConfigMapKeyRef names a key of a ConfigMap in the namespace.
	// +required
	ConfigMapKeyRef KeyRef `json:"configMapKeyRef"`
}

// Allow selects the users who have access after signing in: any of the listed users, emails and groups, or everyone who can sign in.
//
// +kubebuilder:validation:XValidation:rule="(has(self.anyAuthenticated) && self.anyAuthenticated) != ((has(self.users) && self.users.size() > 0) || (has(self.emails) && self.emails.size() > 0) || (has(self.groups) && self.groups.size() > 0))",message="list at least one of users, emails and groups, or set anyAuthenticated to true, not both"
type Allow struct {
	// Users are subjects (the claim sub) that have access.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +optional
	Users []string `json:"users,omitempty"`
	// Emails are email addresses (the claim email) that have access.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	// +listType=set
	// +optional
	Emails []string `json:"emails,omitempty"`
	// Groups are groups (the claim groups) whose members have access. Many providers report groups only if an additional scope
	// is requested, often called groups. The authorization service receives groups joined by commas, so prefer users where
	// group names can be chosen freely.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.all(g, !g.contains(','))",message="must not contain a group with a comma, which is indistinguishable from two groups: list users instead"
	// +listType=set
	// +optional
	Groups []string `json:"groups,omitempty"`
	// AnyAuthenticated gives access to everyone who can sign in at the provider.
	// +optional
	AnyAuthenticated bool `json:"anyAuthenticated,omitempty"`
}

// Scheduling restricts the nodes on which the pod may run, with the fields of a pod.
type Scheduling struct {
	// NodeSelector contains the labels that a node must have.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations let the pod run on tainted nodes.
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity attracts the pod to nodes or other pods, or keeps it away from them.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints spread pods across zones or nodes.
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// PriorityClassName is the pod's priority class.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// SchedulerName is the name of the scheduler that places the pod.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SchedulerName string `json:"schedulerName,omitempty"`
}

// PodExtras adds fields to the pod that the other sections do not cover.
//
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || self.labels.all(k, !k.startsWith('jupyterserver.dev/') && !k.startsWith('app.kubernetes.io/'))",fieldPath=".labels",message="must not contain labels with the prefix jupyterserver.dev/ or app.kubernetes.io/: the operator sets them"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || self.annotations.all(k, !k.startsWith('jupyterserver.dev/'))",fieldPath=".annotations",message="must not contain annotations with the prefix jupyterserver.dev/: the operator sets them"
// +kubebuilder:validation:XValidation:rule="!has(self.volumes) || self.volumes.all(v, v.name != 'files')",fieldPath=".volumes",message="must not contain a volume named files: that is the server's volume. Choose another name."
// +kubebuilder:validation:XValidation:rule="(!has(self.containers) || self.containers.all(c, c.name != 'jupyter')) && (!has(self.initContainers) || self.initContainers.all(c, c.name != 'jupyter'))",message="must not contain a container named jupyter: that is the server itself. Choose another name."
// +kubebuilder:validation:XValidation:rule="(!has(self.containers) || self.containers.all(c, !c.name.startsWith('access-'))) && (!has(self.initContainers) || self.initContainers.all(c, !c.name.startsWith('access-')))",message="must not contain containers with the name prefix access-: it is reserved for the access control. Choose other names."
// +kubebuilder:validation:XValidation:rule="(!has(self.volumes) || self.volumes.all(v, !v.name.startsWith('access-'))) && (!has(self.volumeMounts) || self.volumeMounts.all(m, !m.name.startsWith('access-')))",message="must not contain volumes with the name prefix access-: it is reserved for the access control. Choose other names."
type PodExtras struct {
	// Labels are added to the pod.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are added to the pod.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// ServiceAccountName is the pod's service account. Its token is mounted only when this is set.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Volumes are added to the pod.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// VolumeMounts are added to the Jupyter container.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
	// InitContainers run before Jupyter.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// Containers run next to Jupyter.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	Containers []corev1.Container `json:"containers,omitempty"`
	// SecurityContext is merged into the pod's defaults (runAsNonRoot, fsGroup 100, seccompProfile RuntimeDefault).
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`
}

// Patch changes rendered objects of one kind.
type Patch struct {
	// Target selects the rendered objects to change.
	// +required
	Target PatchTarget `json:"target"`
	// Type is json (RFC 6902), merge (RFC 7386) or strategic (Kubernetes' strategic merge).
	// +kubebuilder:validation:Enum=json;merge;strategic
	// +kubebuilder:default=strategic
	// +optional
	Type PatchType `json:"type"`
	// Patch is the patch, as YAML or JSON.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +required
	Patch string `json:"patch"`
}

// PatchType is the format of a patch.
type PatchType string

const (
	// PatchTypeJSON is a JSON patch (RFC 6902).
	PatchTypeJSON PatchType = "json"
	// PatchTypeMerge is a JSON merge patch (RFC 7386).
	PatchTypeMerge PatchType = "merge"
	// PatchTypeStrategic is Kubernetes' strategic merge patch.
	PatchTypeStrategic PatchType = "strategic"
)

// PatchTarget selects the rendered objects that a patch changes.
type PatchTarget struct {
	// Kind is the kind of the objects, such as StatefulSet.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Kind string `json:"kind"`
	// Name is the name of the object. By default every object of the kind is changed.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`
}
