import Randomness

// The driver, written a second time from its description: three levels of 512 entries, a shift for the root that may be
// wrong, a pool that hands out table pages and never takes one back.

final class DriverSimulation {
  let memory = WordMemory()
  let root: UInt64 = 0x8000_0000
  let rootShift: UInt64
  private(set) var tables = 1
  private var pool: [UInt64]

  init(rootShift: Int, using random: inout SeededNumbers) {
    self.rootShift = UInt64(rootShift)
    pool = (1..<4096).map { 0x8000_0000 + $0 * 4096 }.shuffled(using: &random)
  }

  private func slots(_ iova: UInt64) -> [UInt64] { [iova >> rootShift % 512, iova >> 21 % 512, iova >> 12 % 512] }

  /// 0, or -22 (EINVAL) for a size that is not whole pages.
  func map(_ iova: UInt64, _ target: UInt64, bytes: UInt64, protection: UInt64) -> Int {
    guard bytes % 4096 == 0 else { return -22 }
    var flags: UInt64 = 1
    if protection % 2 == 1 { flags = 3 }
    if protection / 2 % 2 == 1 { flags = 7 }
    var done: UInt64 = 0
    while done < bytes {
      let slots = slots(iova + done)
      var table = root
      for slot in slots[..<2] {
        if memory.words[table + slot * 8] ?? 0 == 0 {
          memory.words[table + slot * 8] = pool.removeLast() / 4096 * 1024 + 1
          tables += 1
        }
        table = (memory.words[table + slot * 8] ?? 0) / 1024 * 4096
      }
      memory.words[table + slots[2] * 8] = (target + done) / 4096 * 1024 + flags
      done += 4096
    }
    return 0
  }

  /// Clears leaves; table pages and the pointers to them stay.
  func unmap(_ iova: UInt64, bytes: UInt64) {
    var done: UInt64 = 0
    while done < bytes {
      let slots = slots(iova + done)
      let middle = (memory.words[root + slots[0] * 8] ?? 0) / 1024 * 4096
      let leaves = (memory.words[middle + slots[1] * 8] ?? 0) / 1024 * 4096
      memory.words[leaves + slots[2] * 8] = 0
      done += 4096
    }
  }
}
