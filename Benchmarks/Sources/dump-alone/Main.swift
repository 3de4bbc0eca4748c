import Images
import PageTables

// Dumps an image of 2^N leaves, N being the argument, and leaves this process's peak memory to whoever waits for it: it has
// nothing else in it. Prints the bytes of the tables.
let log2 = CommandLine.arguments.last.flatMap { Int($0) } ?? 21
let image = Image(.runs, leavesLog2: min(max(log2, 9), 24))
var mapped: UInt64 = 0
PagingMode.sv39.dump(root: image.root, in: image).forEach(
  mappings: { for index in $0.indices { mapped &+= $0[index].size } }, other: { _ in })
precondition(mapped > 0)
print(image.tableBytes.count)
