"""What a mechanism costs: typed events, their Rényi curves, the noise that an ε asks for. Pure, with numpy alone."""
