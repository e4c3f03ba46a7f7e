package cluster

import _ "github.com/hashicorp/memberlist" // replaced by Membership
