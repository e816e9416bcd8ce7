// The sandbox of every pod of the test node: holds the namespaces and reaps what is orphaned in them.
module mlprivacy.dev/node/pause

go 1.26.0
