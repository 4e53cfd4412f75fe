// How long a thread that has nothing to do keeps its core.
#pragma once

namespace tare::cli {

/// For the start of main(): starts the program again where its environment does not say how long OpenMP's threads spin
/// before they sleep. The runtime reads that when it is loaded, and spins for ten milliseconds and more by default:
/// beside one or two busy processes inference then takes up to twice as long, on a crowded machine up to 25 times.
/// Returns where that is settled or cannot be.
void wait_briefly(char** arguments);

}  // namespace tare::cli
