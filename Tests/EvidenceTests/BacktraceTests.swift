import IOMMUModel
import Investigation
import PageTables
import Testing

@testable import Evidence

@Suite struct BacktraceTests {
  private let arguments =
    "domain=0xff6000008023a6b0, iova=4294963200, paddr=4397146112, pgsize=4096, pgcount=1, iommu_prot=7, gfp=3520, mapped=0x10"

  private func call(_ arguments: String, above: String = "") -> Extraction {
    Texts.read("#0  xt_iommu_map (\(arguments)) at ../drivers/iommu/xuantie-iommu.c:70\n\(above)")
  }

  @Test func fieldNotes() throws {
    let notes = try Texts.read(fixture: "field-notes.txt")
    let recorded = try #require(notes.calls.first)
    #expect(notes.calls.count == 1 && notes.refusals.isEmpty && notes.isComplete)
    #expect(
      recorded
        == RecordedCall(
          number: 0,
          call: DriverCall(
            function: "xt_iommu_map",
            operation: .map(
              target: GPA(0x1_0617_2000), protection: [.read, .write, .cache],
              allocation: AllocationFlags(rawValue: 3520)),
            domain: KVA(0xff60_0000_8023_a6b0), iova: IOVA(0xffff_f000), length: 4096,
            pages: DriverCall.Pages(size: 4096, count: 1)),
          root: nil, requester: nil,
          callers: [
            "__iommu_map_pages", "__iommu_map", "iommu_map_sg", "__iommu_dma_alloc_noncontiguous",
            "iommu_dma_alloc_remap", "iommu_dma_alloc", "dma_alloc_attrs", "dma_alloc_coherent", "e1000_alloc_ring_dma",
            "e1000e_setup_tx_resources", "e1000e_open",
          ], origin: "field-notes.txt:371"))
    let asker = RecordedTranslation.Asker(
      device: "e1000e", operation: "e1000e_start_xmit", path: "pci_dma_read", length: 16)
    #expect(
      notes.translations == [
        RecordedTranslation(requester: nil, iova: IOVA(0xffff_f000), access: nil, answer: nil, asker: asker),
        RecordedTranslation(requester: nil, iova: IOVA(0xffff_f000), count: 4, stride: 1, access: nil, answer: nil),
        RecordedTranslation(requester: nil, iova: IOVA(0xffff_f000), count: 4, stride: 4, access: nil, answer: nil),
        RecordedTranslation(requester: nil, iova: IOVA(0xffff_f001), access: .read, answer: nil, asker: asker),
      ])
  }

  @Test func bothSignatures() {
    let old = call("domain=0x10, iova=4096, paddr=8192, size=12288, iommu_prot=3, gfp=3264")
    #expect(old.calls.first?.call.length == 12288 && old.calls.first?.call.pages == nil)
    #expect(old.findings.first.map { $0.evidence.profile } == "xuantie/size")
    #expect(call(arguments).findings.first.map { $0.evidence.profile } == "xuantie/pages")
    let unmap = Texts.read("#0  xt_iommu_unmap (domain=0x1, iova=0x2000, size=4096, gather=0x5) at a.c:1")
    #expect(unmap.calls.first?.call.operation == .unmap && unmap.findings.first?.evidence.profile == "xuantie/size")
    let foreign = call("domain=0x10, iova=4096, paddr=8192, bytes=12288")
    #expect(
      foreign.refusals.map(\.reason) == [
        "xt_iommu_map cannot be recorded because no known variant of the driver has the parameters bytes, domain, iova, paddr."
      ])
  }

  @Test func optimizedOutArguments() {
    let lost = arguments.replacing("paddr=4397146112", with: "paddr=<optimized out>")
    #expect(
      call(lost).refusals == [
        Refusal(
          lines: 1...1,
          reason: "xt_iommu_map cannot be recorded because `paddr` is optimized out; the arguments are known at the "
            + "function's first instruction.")
      ])
    // The caller's value at its own entry is a wrong guess of the debugger's; its present value is not.
    let guess = "#1  0x0000000000000001 in __iommu_map (paddr=<optimized out>, paddr@entry=45036000558240008) at b.c:2"
    #expect(call(lost, above: guess).calls.isEmpty && call(lost, above: guess).refusals.count == 1)
    for lost in [lost, arguments.replacing("paddr=4397146112", with: "paddr@entry=45036000558240008")] {
      let known = call(lost, above: "#1  0x0000000000000001 in __iommu_map (paddr=4397146112, x=5) at b.c:2")
      #expect(known.calls.first?.call.target == GPA(0x1_0617_2000))
      #expect(
        known.findings.first?.remarks == [
          "`paddr` is not known in xt_iommu_map and was taken from its caller __iommu_map."
        ])
    }
    // Two frames up is too far: the value may have moved on.
    #expect(
      call(lost, above: "#1  a (x=1) at b.c:2\n#2  __iommu_map (paddr=4397146112) at b.c:2").calls.isEmpty)
    let more = lost.replacing("iova=4294963200", with: "iova=<optimized out>")
    #expect(call(more).refusals.first?.reason.contains("because `iova` and `paddr` are optimized out;") == true)
    // Without allocation flags and the place for the result a call can still be told.
    let little = arguments.replacing("gfp=3520, mapped=0x10", with: "gfp=<optimized out>, mapped=<optimized out>")
    #expect(
      call(little).calls.first?.call.operation
        == .map(target: GPA(0x1_0617_2000), protection: [.read, .write, .cache], allocation: nil))
  }

  @Test func whatGDBDoesNotPrint() {
    for (text, reason) in [
      (
        "#0  xt_iommu_map (...) at a.c:70",
        "xt_iommu_map cannot be recorded because its arguments were not printed: `set print frame-arguments scalars` prints them."
      ),
      (
        "#0  xt_iommu_map (domain=0x1, iova=42949", "xt_iommu_map cannot be recorded because its arguments are cut off."
      ),
      (
        "#0  xmmuv1_translate (mr=0x1, addr=<optimized out>, flag=IOMMU_RO) at a.c:1",
        "xmmuv1_translate cannot be recorded because `addr` is optimized out."
      ),
      (
        "#0  0xffffffff8014ccf6 xt_iommu_map domain=1",
        "It looks like a frame of a backtrace, but not one that GDB prints."
      ),
      (
        "xt_iommu_map iova=0xfffff000 was wrong",
        "It names xt_iommu_map with arguments, but neither as a frame nor as a print that is known here."
      ),
    ] {
      let result = Texts.read(text)
      #expect(result.refusals == [Refusal(lines: 1...1, reason: reason)] && result.findings.isEmpty, "\(text)")
    }
    for prose in ["#1 thing to do (now)", "# 5 items", "see #3", "xt_iommu_map is wrong", "xmmuv1_translate 没有触发"] {
      #expect(Texts.read(prose).refusals.isEmpty && Texts.read(prose).findings.isEmpty, "\(prose)")
    }
  }

  @Test func valuesOfAllKinds() throws {
    let frame = try #require(
      Frame(
        Array(
          """
          #12 0xffffffff80148238 in some_function.constprop.0 (a=-1, b=0xff <sym+8>, c=true, d=d@entry=5, e=6, e@entry=7, \
          f=<optimized out>, g=..., h={x = 1, y = "a, b)"}, i=0x1 "text, (more", j@entry=9, k=(IOMMU_RO | IOMMU_WO), \
          l=99999999999999999999, m=65 'A', n='\\'') at ../drivers/x.c:10
          """.utf8)[...]))
    #expect(frame.number == 12 && frame.function == "some_function" && frame.file == "../drivers/x.c" && !frame.isCut)
    #expect(
      frame.arguments
        == [
          "a": .number(.max), "b": .number(255), "c": .name("true"), "d": .number(5), "e": .number(6),
          "f": .optimizedOut,
          "g": .other, "h": .other, "i": .number(1), "k": .name("(IOMMU_RO|IOMMU_WO)"), "l": .other, "m": .number(65),
          "n": .other,
        ].filter { $0.key != "g" }.merging(["g": .other]) { $1 })
    #expect(frame.entryOnly == ["j"])
  }

  @Test func oneStopPrintedTwiceIsOneCall() throws {
    let frame = "#0  xt_iommu_map (\(arguments)) at a.c:70\n"
    let above = "#1  0x0000000000000001 in __iommu_map (x=1) at b.c:2\n"
    #expect(Texts.read(frame + "(gdb) bt\n" + frame + above).calls.map(\.callers) == [["__iommu_map"]])
    #expect(Texts.read(frame + above + "(gdb) frame\n" + frame).calls.map(\.callers) == [["__iommu_map"]])
    #expect(Texts.read(frame + "(gdb) c\nContinuing.\n" + frame).calls.count == 2)
    let stop = "Breakpoint 1, xt_iommu_map (\(arguments)) at a.c:70\n70\t{\n"
    #expect(Texts.read(stop + frame + above).calls.map(\.callers) == [["__iommu_map"]])
    #expect(Texts.read(stop + "(gdb) c\nContinuing.\n\n" + stop).calls.count == 2)
    let thread = stop.replacing("Breakpoint", with: "Thread 2 \"CPU 1/TCG\" hit Temporary breakpoint")
    #expect(Texts.read(thread).calls.count == 1)
    // What is printed in full twice in a captured session.
    #expect(try Texts.read(fixture: "pgdir-shift/qemu-bt-start_xmit-pci_dma_read.txt").translations.count == 1)
  }

  @Test func whoAsked() throws {
    let map = try Texts.read(fixture: "cookie/qemu-bt-address_space_map.txt").translations
    #expect(map.count == 1)
    #expect(
      map.first?.asker
        == RecordedTranslation.Asker(
          device: "e1000e", operation: "e1000e_process_tx_desc", path: "pci_dma_map", length: nil))
    #expect(map.first?.answer == RecordedTranslation.Answer(address: GPA(0x80c5_505e), mask: 0, access: .read))
    #expect(TranslationReader.asker(chain: ["flatview_read", "pci_dma_read"]) == nil)
    #expect(TranslationReader.asker(chain: ["pci_dma_map", "net_tx_pkt_add_raw_fragment"]) == nil)
    #expect(TranslationReader.asker(chain: []) == nil)
  }

  @Test func accesses() {
    for (flag, access) in [
      ("IOMMU_NONE", Access.none), ("IOMMU_RO", .read), ("2", .write), ("(IOMMU_RO | IOMMU_WO)", .readWrite),
      ("3", .readWrite),
    ] {
      #expect(
        Texts.read("#0  xmmuv1_translate (mr=0x1, addr=5, flag=\(flag)) at a.c:1").translations.first?.access == access)
    }
    for flag in ["IOMMU_X", "4", "<optimized out>", "-1"] {
      let found = Texts.read("#0  xmmuv1_translate (mr=0x1, addr=5, flag=\(flag)) at a.c:1").translations
      #expect(found.count == 1 && found.first?.access == nil)
    }
  }

  @Test func cookies() throws {
    let captured = try Texts.read(fixture: "cookie/xt_iommu_domain_alloc-first-2-stops.txt")
    #expect(captured.cookies.map(\.isSecond) == [false, true, false, true])
    #expect(
      captured.cookies.map { $0.callers.first } == [
        "xt_iommu_domain_alloc", "__iommu_domain_alloc", "xt_iommu_domain_alloc", "__iommu_domain_alloc",
      ])
    #expect(captured.refusals.isEmpty && captured.isComplete)
    let alone = Texts.read("#0  iommu_get_dma_cookie (domain=domain@entry=0x10) at a.c:1\n(gdb) c")
    #expect(alone.cookies.isEmpty && alone.refusals.first?.reason.hasSuffix("`p domain->iova_cookie`.") == true)
  }
}

extension Evidence {
  /// A call's profile.
  var profile: String? { if case .call(_, let profile) = self { profile } else { nil } }
}
