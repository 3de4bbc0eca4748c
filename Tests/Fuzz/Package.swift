// swift-tools-version: 6.1
import PackageDescription

// Every branch counted and every comparison noted, for libFuzzer to find its way by.
let instrumented: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .unsafeFlags(["-sanitize=fuzzer"]),
]

// The modules that read what others wrote, by links to the real ones: a package that somebody else depends on must not have
// such flags, and nothing else need be built this way.
let package = Package(
  name: "Fuzz",
  dependencies: [
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
  ],
  targets: [
    .systemLibrary(name: "CPrefetch"),
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CFuzzer"),
    .target(name: "CMappedFile"),
    .target(name: "CProcessMemory"),
    .target(name: "Randomness", swiftSettings: instrumented),
    .target(name: "PageTables", dependencies: ["CPrefetch"], swiftSettings: instrumented),
    .target(
      name: "GuestMemory", dependencies: ["PageTables", "CMappedFile", "CProcessMemory"],
      swiftSettings: instrumented),
    .target(name: "IOMMUModel", dependencies: ["PageTables"], swiftSettings: instrumented),
    .target(name: "RISCVInterpreter", dependencies: ["PageTables"], swiftSettings: instrumented),
    .target(
      name: "LinuxKernel", dependencies: ["CZlib", "IOMMUModel", "PageTables", "RISCVInterpreter"],
      swiftSettings: instrumented),
    .target(name: "XuanTie", dependencies: ["IOMMUModel"], swiftSettings: instrumented),
    .target(name: "RISCVIOMMU", dependencies: ["IOMMUModel"], swiftSettings: instrumented),
    .target(
      name: "Investigation",
      dependencies: [
        "IOMMUModel", "GuestMemory", "LinuxKernel", .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "GRDBSQLite", package: "GRDB.swift"),
      ],
      swiftSettings: instrumented),
    .target(
      name: "Evidence", dependencies: ["Investigation", "IOMMUModel", "LinuxKernel", "PageTables"],
      swiftSettings: instrumented),
    .target(
      name: "Reports",
      dependencies: [
        "Evidence", "Investigation", "LinuxKernel", .product(name: "Mustache", package: "swift-mustache"),
      ],
      swiftSettings: instrumented),
    .target(
      name: "Simulation", dependencies: ["Investigation", "XuanTie", "Randomness"], swiftSettings: instrumented),
    .executableTarget(
      name: "Fuzz",
      dependencies: [
        "CFuzzer", "CZlib", "PageTables", "GuestMemory", "IOMMUModel", "LinuxKernel", "RISCVInterpreter", "RISCVIOMMU",
        "XuanTie", "Investigation", "Evidence", "Reports", "Simulation", .product(name: "GRDB", package: "GRDB.swift"),
      ],
      swiftSettings: instrumented,
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]),
  ]
)
