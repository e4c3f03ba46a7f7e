import "./styles/tokens.css";
import "./styles/icons.css";
import "./styles/gyre.css";
import { mount } from "svelte";
import App from "./App.svelte";

mount(App, { target: document.body });
